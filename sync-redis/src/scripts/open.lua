-- Opens a session, and scans one page of the table: removes names whose only holder's session has
-- expired and expired watch marks, and returns expired sessions that have to be cleaned up. ARGV: 1
-- session, 2 ttl in microseconds
redis.call('HSET', all, ARGV[1], string.format('%.0f', now + ARGV[2]))

local function lives(session)
  local ends = redis.call('HGET', all, session)
  return ends and (tonumber(ends) or 0) > now
end

local page = redis.call('HSCAN', all, redis.call('HGET', all, '@') or '0', 'COUNT', 32)
redis.call('HSET', all, '@', page[1])
local dead = {}
for index = 1, #page[2], 2 do
  local field, value = page[2][index], page[2][index + 1]
  if string.sub(field, 1, 1) == '?' then
    if (tonumber(value) or 0) <= now then redis.call('HDEL', all, field) end
  elseif string.find(field, '/', 1, true) then
    if value ~= '*' and not lives(string.sub(value, 33, 64)) then redis.call('HDEL', all, field) end
  elseif #field == 32 and (tonumber(value) or 0) <= now and #dead < 16 then
    dead[#dead + 1] = field
  end
end
return dead
