-- Ends exactly one claim: of its own session, or of any if the session is '*' (an operator's break). This part ends the
-- only claim of a name, which is what happens most.
--
-- KEYS and ARGV 1 and 2 as in line.lua. ARGV: 3 claim, 4 session
local record = redis.call('HGET', KEYS[3], ARGV[1])
if not record then return 'absent' end
if record ~= '*' then
  local id, session = string.sub(record, 1, 32), string.sub(record, 33, 64)
  if id ~= ARGV[3] or (ARGV[4] ~= '*' and session ~= ARGV[4]) then return 'absent' end
  redis.call('HDEL', KEYS[3], ARGV[1])
  if ARGV[4] == '*' then
    redis.call('PUBLISH', ARGV[2] .. 'on:' .. session, 'evicted ' .. id)
  end
  redis.call('INCR', KEYS[1])
  redis.call('PUBLISH', ARGV[2] .. 'on:watch:' .. ARGV[1], '')
  return 'held'
end
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

