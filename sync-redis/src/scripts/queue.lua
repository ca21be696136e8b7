-- Who holds and who waits, the dead left out; and the revision.
-- ARGV: 1 name, 2 for how long the name is watched from now on, in microseconds, or '0'
local record = redis.call('HGET', all, ARGV[1])
local line = line_of(ARGV[1], record)
line.touch()
if ARGV[2] ~= '0' then
  local ends = string.format('%.0f', now + ARGV[2])
  redis.call('HSET', all, '?', ends, '?' .. ARGV[1], ends)
end
local alone, revision = line.holder_alone()
if alone then
  return { revision, { line.entry(alone) } }
end
if record == '*' then
  line.settle()
  line.finish()
end
local entries = {}
for _, id in ipairs(line.ids()) do
  local claim = line.load(id)
  if claim and line.lives(claim.session) then
    entries[#entries + 1] = line.entry(claim)
  end
end
return { line.revision(), entries }
