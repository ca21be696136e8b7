-- A holder's new value.
-- ARGV: 1 name, 2 claim, 3 session, 4 value
local line = line_of(ARGV[1], redis.call('HGET', all, ARGV[1]))
local alone = line.holder_alone()
if alone then
  if alone.id ~= ARGV[2] or alone.session ~= ARGV[3] then return 0 end
  line.rewrite_alone(alone, ARGV[4])
  return 1
end
line.touch()
local claim = line.load(ARGV[2])
if not claim or claim.session ~= ARGV[3] or not claim.token or not line.lives(claim.session) then
  return 0
end
claim.value = ARGV[4]
line.store(claim)
line.finish()
return 1
