-- Fast path for a single step: acquires a free name, or releases a name without a queue, while no
-- name is watched. It runs first and creates no function and no table, which would double its time.
-- All other cases are left to `steps.lua`, which documents the arguments.
local path, head = ARGV[1], ARGV[2]
if #ARGV == 2 then
  local found = redis.call('HMGET', KEYS[1], path, '?')
  if found[1] and not found[2] and string.sub(found[1], 1, 64) == head then
    redis.call('HDEL', KEYS[1], path)
    return 'held'
  end
-- Two withdrawals have four arguments as well, but the second of them is short.
elseif #ARGV == 4 and #head > 64 and ARGV[4] ~= '2' then
  local found = redis.call('HMGET', KEYS[1], path, string.sub(head, 33, 64), '#', '?')
  local ends, last = found[2], found[3]
  if ends and not found[1] and not found[4] then
    local clock = redis.call('TIME')
    local now = clock[1] * 1000000 + clock[2]
    if tonumber(ends) > now then
      local token = clock[1] .. string.sub('00000' .. clock[2], -6)
      if last and tonumber(last) >= now then token = string.format('%.0f', tonumber(last) + 1) end
      redis.call('HSET', KEYS[1], path, head .. ' ' .. token .. ' ' .. token .. ' ' .. ARGV[3], '#', token)
      return token
    end
  end
end
