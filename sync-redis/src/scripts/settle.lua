-- Grants to the next in line after a session has ended.
-- ARGV: 1 name
local record = redis.call('HGET', all, ARGV[1])
if record == '*' then
  local line = line_of(ARGV[1], record)
  line.touch()
  line.settle()
  line.finish()
end
return 1
