-- A holder's new value.
-- ARGV: 3 claim, 4 session, 5 value
local alone = holder_alone()
if alone then
  if alone.id ~= ARGV[3] or alone.session ~= ARGV[4] then return 0 end
  local revision = text(redis.call('INCR', tick))
  redis.call('HSET', names, path, alone.id .. alone.session .. string.sub(alone.mode, 1, 1) .. alone.of
    .. ' ' .. alone.token .. ' ' .. revision .. ' ' .. #alone.client .. ' ' .. alone.client .. ARGV[5])
  redis.call('PUBLISH', channels .. 'watch:' .. path, '')
  return 1
end
local claim = load(ARGV[3])
if not claim or claim.session ~= ARGV[4] or not claim.token or not lives(claim.session) then
  return 0
end
claim.value = ARGV[5]
store(claim)
changed = true
finish()
return 1
