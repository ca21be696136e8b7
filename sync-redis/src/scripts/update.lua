-- Replaces the value of a holder.
-- ARGV: 1 name, 2 claim, 3 session, 4 value
local queue = queue_of(ARGV[1], redis.call('HGET', all, ARGV[1]))
local holder = queue.uncontended_holder()
if holder then
  if holder.id ~= ARGV[2] or holder.session ~= ARGV[3] then return 0 end
  queue.rewrite_uncontended(holder, ARGV[4])
  return 1
end
queue.touch()
local claim = queue.load(ARGV[2])
if not claim or claim.session ~= ARGV[3] or not claim.token or not queue.lives(claim.session) then
  return 0
end
claim.value = ARGV[4]
queue.store(claim)
queue.finish()
return 1
