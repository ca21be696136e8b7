-- The name is taken: a try is told so, and whoever waits stands in line.
local id, session, mode, of = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])

local alone = holder_alone()
if alone then
  if ARGV[7] == '0' and not (mode == alone.mode and mode ~= 'exclusive') then
    return { 'busy', entry(alone) }
  end
  write_out(alone)
end
local claim = load(id)
if claim and claim.session ~= session then
  return { 'taken' }
end
local run, waiting = settle(id)
claim = claim and load(id)
if not claim and ARGV[7] == '2' then
  finish()
  return { 'evicted' }
end
if not claim then
  if mode == 'permit' and tonumber(redis.call('HGET', claims, '+') or '0') > 0 then
    local force = tonumber(redis.call('HGET', claims, '%'))
    if force ~= of then
      finish()
      return { 'permits', force }
    end
  end
  claim = { id = id, session = session, mode = mode, of = of, client = ARGV[8], value = ARGV[9] }
  local free = not waiting and run.admits(claim)
  if not free and ARGV[7] == '0' then
    finish()
    return { 'busy', entry(run.first) }
  end
  arrive(claim)
  if free then grant(claim) end
  store(claim)
end
finish()
if claim.token then
  return { 'granted', claim.token }
end
return { 'waiting', redis.call('ZRANK', queue, id), until_expiry(run), entry(run.first) }
