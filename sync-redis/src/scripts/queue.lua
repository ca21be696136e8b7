-- Who holds and who waits, the dead left out.
settle()
finish()
local entries = {}
for _, id in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
  local claim = load(id)
  if lives(claim.session) then
    entries[#entries + 1] = entry(claim)
  end
end
local revision = redis.call('HGET', claims, '!') or redis.call('HGET', meta, 'forgotten') or '0'
return { revision, entries }
