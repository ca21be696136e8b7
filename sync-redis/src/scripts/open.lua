-- Opens a session. Returns a few sessions that have died and that nobody has cleaned up after yet.
-- KEYS: 1 sessions. ARGV: 1 session, 2 ttl in microseconds
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, 16)
