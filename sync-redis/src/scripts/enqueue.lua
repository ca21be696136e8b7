-- Queues a claim at a name that is taken, or finds it in the queue. `head` and `tail` are the parts
-- of the record of an only claim before its token and after its revision. Intents: '0' to try, '1'
-- to wait, '2' only to look.
local function enqueue(path, record, intent, session, head, tail)
  local queue = queue_of(path, record)
  local length, rest = string.match(tail, '^(%d+) (.*)$')
  local claim = {
    id = string.sub(head, 1, 32), session = session, mode = queue.mode(string.sub(head, 65, 65)),
    of = tonumber(string.sub(head, 66)), client = string.sub(rest, 1, length), value = string.sub(rest, length + 1),
  }
  local holder = queue.uncontended_holder()
  local written = queue.touch(session, holder and holder.session or session)
  if holder then
    if intent == '0' and not (claim.mode == holder.mode and claim.mode ~= 'exclusive') then
      return { 'busy', queue.entry(holder) }
    end
  end
  if written and record ~= '*' then queue.clear() end
  if holder then queue.write_out(holder) end
  local found = queue.load(claim.id)
  if found and found.session ~= session then
    queue.finish()
    return { 'taken' }
  end
  local run, waiting = queue.settle(claim.id)
  found = found and queue.load(claim.id)
  if not found and intent == '2' then
    queue.finish()
    return { 'evicted' }
  end
  if not found then
    local force = claim.mode == 'permit' and queue.permits()
    if force and force ~= claim.of then
      queue.finish()
      return { 'permits', force }
    end
    local free = not waiting and run.admits(claim)
    if not free and intent == '0' then
      queue.finish()
      return { 'busy', queue.entry(run.first) }
    end
    found = claim
    if free then queue.grant(found) end
    queue.arrive(found)
  end
  queue.finish()
  if found.token then
    return found.token
  end
  return { 'waiting', queue.position(found.id), queue.until_expiry(run), queue.entry(run.first) }
end
