-- Returns the holders and waiters whose sessions are valid, and the revision.
-- ARGV: 1 name, 2 how long to mark the name as watched, in microseconds, or '0'
local record = redis.call('HGET', all, ARGV[1])
local queue = queue_of(ARGV[1], record)
queue.touch()
if ARGV[2] ~= '0' then
  local ends = string.format('%.0f', now + ARGV[2])
  redis.call('HSET', all, '?', ends, '?' .. ARGV[1], ends)
end
local holder, revision = queue.uncontended_holder()
if holder then
  return { revision, { queue.entry(holder) } }
end
if record == '*' then
  queue.settle()
  queue.finish()
end
local entries = {}
for _, id in ipairs(queue.ids()) do
  local claim = queue.load(id)
  if claim and queue.lives(claim.session) then
    entries[#entries + 1] = queue.entry(claim)
  end
end
return { queue.revision(), entries }
