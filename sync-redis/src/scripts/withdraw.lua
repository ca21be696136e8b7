-- Removes exactly one claim from a queue, if it is of the given session or the session is '*'. Then
-- grants the name to the next waiters.
local function withdraw(path, record, session, id)
  local queue = queue_of(path, record)
  local claim = queue.load(id)
  queue.touch(claim and claim.session or session)
  local found = 'absent'
  if claim and queue.lives(claim.session) and (claim.session == session or session == '*') then
    found = claim.token and 'held' or 'waiting'
    queue.leave(claim)
    if session == '*' then
      queue.tell(claim.session, 'evicted ' .. id)
    end
  end
  queue.settle()
  queue.finish()
  return found
end
