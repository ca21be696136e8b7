-- Puts a claim in the line of a name that is taken, or finds it there. `head` and `tail` are of the record that an only claim
-- has, before its token and after its revision. Intents: '0' to try, '1' to wait, '2' to look only.
local function enqueue(path, record, intent, session, head, tail)
  local line = line_of(path, record)
  local length, rest = string.match(tail, '^(%d+) (.*)$')
  local claim = {
    id = string.sub(head, 1, 32), session = session, mode = line.mode(string.sub(head, 65, 65)),
    of = tonumber(string.sub(head, 66)), client = string.sub(rest, 1, length), value = string.sub(rest, length + 1),
  }
  local alone = line.holder_alone()
  local written = line.touch(session, alone and alone.session or session)
  if alone then
    if intent == '0' and not (claim.mode == alone.mode and claim.mode ~= 'exclusive') then
      return { 'busy', line.entry(alone) }
    end
  end
  if written and record ~= '*' then line.clear() end
  if alone then line.write_out(alone) end
  local found = line.load(claim.id)
  if found and found.session ~= session then
    line.finish()
    return { 'taken' }
  end
  local run, waiting = line.settle(claim.id)
  found = found and line.load(claim.id)
  if not found and intent == '2' then
    line.finish()
    return { 'evicted' }
  end
  if not found then
    local force = claim.mode == 'permit' and line.permits()
    if force and force ~= claim.of then
      line.finish()
      return { 'permits', force }
    end
    local free = not waiting and run.admits(claim)
    if not free and intent == '0' then
      line.finish()
      return { 'busy', line.entry(run.first) }
    end
    found = claim
    if free then line.grant(found) end
    line.arrive(found)
  end
  line.finish()
  if found.token then
    return found.token
  end
  return { 'waiting', line.position(found.id), line.until_expiry(run), line.entry(run.first) }
end
