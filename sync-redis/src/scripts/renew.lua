-- Renews a session that has not expired. Never opens one.
-- ARGV: 1 session, 2 ttl in microseconds
local ends = redis.call('HGET', all, ARGV[1])
if not ends or tonumber(ends) <= now then
  return 0
end
redis.call('HSET', all, ARGV[1], string.format('%.0f', now + ARGV[2]))
return 1
