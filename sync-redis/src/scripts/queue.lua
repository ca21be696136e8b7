-- Who holds and who waits, the dead left out; and the revision.
local alone, revision = holder_alone()
if alone then
  return { revision, { entry(alone) } }
end
if record ~= '*' then
  return { redis.call('GET', tick) or '0', {} }
end
settle()
finish()
local entries = {}
for _, id in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
  local claim = load(id)
  if lives(claim.session) then
    entries[#entries + 1] = entry(claim)
  end
end
return { redis.call('HGET', claims, '!') or redis.call('GET', tick), entries }
