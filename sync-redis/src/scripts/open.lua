-- Opens a session. Returns a few sessions that have died and that nobody has cleaned up after yet, and lets go of a few
-- names whose only holder has died.
-- KEYS: 1 sessions, 2 names, 3 sweep (where the last look at the names ended). ARGV: 1 session, 2 ttl in microseconds
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])

local page = redis.call('HSCAN', KEYS[2], redis.call('GET', KEYS[3]) or '0', 'COUNT', 16)
redis.call('SET', KEYS[3], page[1])
for index = 1, #page[2], 2 do
  local name, record = page[2][index], page[2][index + 1]
  if record ~= '*' then
    local ends = redis.call('ZSCORE', KEYS[1], string.sub(record, 33, 64))
    if not ends or tonumber(ends) <= now then redis.call('HDEL', KEYS[2], name) end
  end
end
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'LIMIT', 0, 16)
