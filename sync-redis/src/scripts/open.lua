-- Opens a session, and looks at some others and at some names: returns sessions that have died and that nobody has cleaned up
-- after yet, and lets go of names whose only holder has died.
-- KEYS: 1 sessions, 2 names, 3 sweep (hash: where the last looks at the other two ended)
-- ARGV: 1 session, 2 ttl in microseconds
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + ARGV[2]))

local function lives(session)
  local ends = redis.call('HGET', KEYS[1], session)
  return ends and tonumber(ends) > now
end

-- The next few fields of a hash, with their values.
local function look(key)
  local page = redis.call('HSCAN', key, redis.call('HGET', KEYS[3], key) or '0', 'COUNT', 16)
  redis.call('HSET', KEYS[3], key, page[1])
  return page[2]
end

local records = look(KEYS[2])
for index = 1, #records, 2 do
  local record = records[index + 1]
  if record ~= '*' and not lives(string.sub(record, 33, 64)) then
    redis.call('HDEL', KEYS[2], records[index])
  end
end
local dead, sessions = {}, look(KEYS[1])
for index = 1, #sessions, 2 do
  if tonumber(sessions[index + 1]) <= now and #dead < 16 then dead[#dead + 1] = sessions[index] end
end
return dead
