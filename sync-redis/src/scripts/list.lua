-- The names that begin with a prefix and that somebody is at.
-- KEYS: 1 sessions, 2 names. ARGV: 1 prefix
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local found, lives = {}, {}
local all = redis.call('HGETALL', KEYS[2])
for index = 1, #all, 2 do
  local name, record = all[index], all[index + 1]
  if string.sub(name, 1, #ARGV[1]) == ARGV[1] then
    local session = string.sub(record, 33, 64)
    if record ~= '*' and lives[session] == nil then
      local ends = redis.call('HGET', KEYS[1], session)
      lives[session] = ends and tonumber(ends) > now or false
    end
    if record == '*' or lives[session] then found[#found + 1] = name end
  end
end
return found
