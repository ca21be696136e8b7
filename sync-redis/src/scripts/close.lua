-- Ends a session. Returns the names in whose queues it had claims.
-- ARGV: 1 session
local held = start .. 'held:' .. ARGV[1]
local names = redis.call('HKEYS', held)
redis.call('HDEL', all, ARGV[1])
redis.call('DEL', held)
return names
