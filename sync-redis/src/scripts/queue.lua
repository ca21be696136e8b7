-- The queue of one name: its claims, who may hold it, and who is notified. `record` is the name's
-- field in the table.
--
-- These keys exist for a name with a queue, in the hash slot of the table:
--       queue:NAME   sorted set: claim -> number of its arrival
--       claims:NAME  hash: claim -> its record; beside them '#' the last arrival, '!' the revision,
--                    '%' the number of permits in force, '+' how many claims are permits
--       held:SESSION hash: name -> number of its claims in the queue, for its end
--
-- A script should fail before its first write, or not at all. Redis refuses writes for its own
-- reasons (memory, replicas, disk) at the first write only, but a Cluster node whose slot is moving
-- refuses any key that it no longer has. `queue.touch` therefore reads every key before the first
-- write. Permissions are checked at each command, so the writes are in an order that leaves a queue
-- which `queue.settle` can repair wherever they stop: the record first, '*' last.
--
-- The record of an only claim: its id and its session, 32 characters each; the first letter of its
-- mode, and its permits; its token; its revision; the length of its client's name, that name, and
-- its value.
local function queue_of(path, record)
  local queue = {}
  local modes = { e = 'exclusive', s = 'shared', p = 'permit' }
  local channels = start .. 'on:'
  local order, claims = start .. 'queue:' .. path, start .. 'claims:' .. path
  local changed = false

  function queue.mode(letter)
    return modes[letter]
  end

  local function text(number)
    return string.format('%.0f', number)
  end

  function queue.lives(session)
    local ends = redis.call('HGET', all, session)
    return ends and tonumber(ends) > now
  end

  function queue.load(id)
    local packed = redis.call('HGET', claims, id)
    if not packed then return nil end
    local claim = cmsgpack.unpack(packed)
    claim.id = id
    return claim
  end

  function queue.store(claim)
    redis.call('HSET', claims, claim.id, cmsgpack.pack({
      session = claim.session, mode = claim.mode, of = claim.of,
      token = claim.token, client = claim.client, value = claim.value,
    }))
    changed = true
  end

  -- Returns the number of permits that all queued claims agree on, if any is for a permit.
  function queue.permits()
    if tonumber(redis.call('HGET', claims, '+') or '0') == 0 then return nil end
    return tonumber(redis.call('HGET', claims, '%'))
  end

  -- Reads the keys of the queue and the `held` keys of these sessions. Raises an error if this node
  -- no longer has one of them. Returns whether the queue has any key.
  function queue.touch(...)
    local length = redis.call('ZCARD', order)
    local written = redis.call('HEXISTS', claims, '#')
    for _, session in ipairs({ ... }) do
      redis.call('HEXISTS', start .. 'held:' .. session, path)
    end
    return length > 0 or written == 1
  end

  function queue.ids()
    return redis.call('ZRANGE', order, 0, -1)
  end

  function queue.position(id)
    return redis.call('ZRANK', order, id)
  end

  function queue.revision()
    return redis.call('HGET', claims, '!') or redis.call('HGET', all, '#') or '0'
  end

  function queue.tell(session, message)
    redis.call('PUBLISH', channels .. session, message)
  end

  -- Adjusts the number of claims that a session has at this name.
  local function count_held(session, by)
    local held = start .. 'held:' .. session
    if redis.call('HINCRBY', held, path, by) <= 0 then
      redis.call('HDEL', held, path)
    end
  end

  -- Appends a claim to the queue.
  function queue.arrive(claim)
    local arrival = redis.call('HINCRBY', claims, '#', 1)
    if claim.mode == 'permit' then
      redis.call('HSET', claims, '%', claim.of)
      redis.call('HINCRBY', claims, '+', 1)
    end
    queue.store(claim)
    count_held(claim.session, 1)
    redis.call('ZADD', order, arrival, claim.id)
    redis.call('HSET', all, path, '*')
  end

  local function remove(claim)
    redis.call('ZREM', order, claim.id)
    redis.call('HDEL', claims, claim.id)
    if claim.mode == 'permit' then
      redis.call('HINCRBY', claims, '+', -1)
    end
    changed = true
  end

  function queue.leave(claim)
    remove(claim)
    count_held(claim.session, -1)
  end

  function queue.grant(claim)
    local last = tonumber(redis.call('HGET', all, '#') or '0')
    claim.token = text(math.max(last + 1, now))
    redis.call('HSET', all, '#', claim.token)
    changed = true
  end

  -- Removes claims of expired sessions from the head of the queue, and grants the name to all
  -- claims that are compatible with the holders. Returns the run of holders and the first waiter.
  -- Publishes each grant except that of the claim `quiet`, which is the reply.
  function queue.settle(quiet)
    local run, kept = { count = 0 }, 0
    local function admits(claim)
      if run.count == 0 then return true end
      if claim.mode == 'exclusive' or claim.mode ~= run.mode then return false end
      return claim.mode == 'shared' or (claim.of == run.of and run.count < claim.of)
    end
    run.admits = admits
    while true do
      local ids = redis.call('ZRANGE', order, kept, kept + 7)
      if #ids == 0 then return run, nil end
      for _, id in ipairs(ids) do
        local claim = queue.load(id)
        if not claim then
          -- An incomplete entry: a script failed before it wrote the record, so no client knows
          -- this claim.
          redis.call('ZREM', order, id)
          changed = true
        elseif not queue.lives(claim.session) then
          remove(claim)
        else
          if not claim.token then
            if not admits(claim) then return run, claim end
            queue.grant(claim)
            queue.store(claim)
            if id ~= quiet then
              queue.tell(claim.session, 'granted ' .. id .. ' ' .. claim.token)
            end
          end
          run.mode, run.of, run.count = claim.mode, claim.of, run.count + 1
          run.first = run.first or claim
          kept = kept + 1
        end
      end
    end
  end

  -- Stores a new revision if the queue has changed, and notifies its observers.
  function queue.finish()
    if not changed then return end
    local revision = redis.call('HINCRBY', all, '#', 1)
    if redis.call('ZCARD', order) == 0 then
      redis.call('DEL', claims)
      redis.call('HDEL', all, path)
    else
      redis.call('HSET', claims, '!', text(revision))
    end
    tell_watchers(path)
  end

  function queue.entry(claim)
    return { claim.id, claim.token or '', claim.mode, claim.of or 0, claim.client, claim.value }
  end

  -- Returns the time until the first holder's session expires unless renewed, in microseconds.
  function queue.until_expiry(run)
    local soonest = now + 3600000000
    if run.first then
      soonest = tonumber(redis.call('HGET', all, run.first.session))
    end
    return text(soonest - now)
  end

  -- Returns the only claim of a name without a queue, if its session is valid, and its revision.
  function queue.uncontended_holder()
    if not record or record == '*' then return nil end
    local letter, of, token, revision, length, rest =
      string.match(string.sub(record, 65), '^(%a)(%d+) (%d+) (%d+) (%d+) (.*)$')
    local claim = {
      id = string.sub(record, 1, 32), session = string.sub(record, 33, 64), of = tonumber(of), token = token,
      mode = modes[letter],
      client = string.sub(rest, 1, length), value = string.sub(rest, length + 1),
    }
    if not queue.lives(claim.session) then return nil end
    return claim, revision
  end

  -- Replaces the value of the only claim of a name without a queue.
  function queue.rewrite_uncontended(claim, value)
    record = claim.id .. claim.session .. string.sub(claim.mode, 1, 1) .. claim.of .. ' ' .. claim.token .. ' '
      .. text(redis.call('HINCRBY', all, '#', 1)) .. ' ' .. #claim.client .. ' ' .. claim.client .. value
    redis.call('HSET', all, path, record)
    tell_watchers(path)
  end

  -- Creates the queue of a name that had a single claim.
  function queue.write_out(claim)
    queue.arrive(claim)
  end

  -- Removes the keys that a failed script has left at a name without a queue.
  function queue.clear()
    redis.call('DEL', order, claims)
  end

  return queue
end
