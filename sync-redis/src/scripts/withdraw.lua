-- Ends exactly one claim in a line that is written out, of its own session, or of any if the session is '*'. Whoever is next
-- is granted.
local function withdraw(path, record, session, id)
  local line = line_of(path, record)
  local claim = line.load(id)
  line.touch(claim and claim.session or session)
  local found = 'absent'
  if claim and line.lives(claim.session) and (claim.session == session or session == '*') then
    found = claim.token and 'held' or 'waiting'
    line.leave(claim)
    if session == '*' then
      line.tell(claim.session, 'evicted ' .. id)
    end
  end
  line.settle()
  line.finish()
  return found
end
