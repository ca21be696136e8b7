-- Ends a session. Returns the names it stood in line for.
-- KEYS: 1 sessions, 2 held
redis.call('HDEL', KEYS[1], ARGV[1])
local lines = redis.call('HKEYS', KEYS[2])
redis.call('DEL', KEYS[2])
return lines
