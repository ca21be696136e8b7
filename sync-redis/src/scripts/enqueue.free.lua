-- Puts a claim in line, or finds it there. This part takes a name that is free, which is what happens most: six calls, and
-- none of the functions below are made.
--
-- KEYS and ARGV 1 and 2 as in line.lua.
-- ARGV: 3 claim, 4 session, 5 mode, 6 permits, 7 '0' to try, '1' to wait, '2' to look only, 8 client, 9 value
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local ends = redis.call('HGET', KEYS[2], ARGV[4])
if not ends or tonumber(ends) <= now then
  return { 'gone' }
end
local record = redis.call('HGET', KEYS[3], ARGV[1])
if record and record ~= '*' then
  local id, session = string.sub(record, 1, 32), string.sub(record, 33, 64)
  if id == ARGV[3] then
    if session ~= ARGV[4] then return { 'taken' } end
    return { 'granted', string.match(record, ' (%d+)', 66) }
  end
  if ARGV[7] == '2' then return { 'evicted' } end
  -- A dead holder is passed over.
  local held = redis.call('HGET', KEYS[2], session)
  if not held or tonumber(held) <= now then record = nil end
end
if not record then
  if ARGV[7] == '2' then return { 'evicted' } end
  -- The clock as it is written, for numbers are slow to write.
  local token = clock[1] .. string.sub('00000' .. clock[2], -6)
  local last = redis.call('SET', KEYS[1], token, 'GET')
  if last and tonumber(last) >= now then
    token = string.format('%.0f', tonumber(last) + 1)
    redis.call('SET', KEYS[1], token)
  end
  redis.call('HSET', KEYS[3], ARGV[1], ARGV[3] .. ARGV[4] .. string.sub(ARGV[5], 1, 1) .. ARGV[6]
    .. ' ' .. token .. ' ' .. token .. ' ' .. #ARGV[8] .. ' ' .. ARGV[8] .. ARGV[9])
  redis.call('PUBLISH', ARGV[2] .. 'on:watch:' .. ARGV[1], '')
  return { 'granted', token }
end

