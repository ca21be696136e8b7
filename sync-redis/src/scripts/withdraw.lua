-- The name has a line: whoever is next in it is granted.
local claim = load(ARGV[3])
local found = 'absent'
if claim and lives(claim.session) and (claim.session == ARGV[4] or ARGV[4] == '*') then
  found = claim.token and 'held' or 'waiting'
  leave(claim)
  count_held(claim.session, -1)
  if ARGV[4] == '*' then
    redis.call('PUBLISH', channels .. claim.session, 'evicted ' .. claim.id)
  end
end
settle()
finish()
return found
