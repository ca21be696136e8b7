-- Renews a session that lives; never opens one.
-- KEYS: 1 sessions. ARGV: 1 session, 2 ttl in microseconds
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local ends = redis.call('HGET', KEYS[1], ARGV[1])
if not ends or tonumber(ends) <= now then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + ARGV[2]))
return 1
