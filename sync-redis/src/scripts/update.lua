-- A holder's new value.
-- ARGV: 3 claim, 4 session, 5 value
local claim = load(ARGV[3])
if not claim or claim.session ~= ARGV[4] or not claim.token or not lives(claim.session) then
  return 0
end
claim.value = ARGV[5]
store(claim)
changed = true
finish()
return 1
