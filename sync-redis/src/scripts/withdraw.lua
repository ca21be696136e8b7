-- Ends exactly one claim: of its own session, or of any if the session is '*' (an operator's break).
-- ARGV: 3 claim, 4 session
local claim = load(ARGV[3])
local found = 'absent'
if claim and lives(claim.session) and (claim.session == ARGV[4] or ARGV[4] == '*') then
  found = claim.token and 'held' or 'waiting'
  leave(claim)
  if ARGV[4] == '*' then
    redis.call('PUBLISH', channels .. claim.session, 'evicted ' .. claim.id)
  else
    count_held(-1)
  end
end
settle()
finish()
return found
