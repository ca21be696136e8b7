-- Grants a name to the next waiters after a session has ended.
-- ARGV: 1 name
local record = redis.call('HGET', all, ARGV[1])
if record == '*' then
  local queue = queue_of(ARGV[1], record)
  queue.touch()
  queue.settle()
  queue.finish()
end
return 1
