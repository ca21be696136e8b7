-- What all scripts share: the line of one name.
--
-- KEYS: 1 meta    hash: token (the last one given out), revision (of the last change of any line),
--                 forgotten (the revision at which a name last became free)
--       2 sessions  sorted set: session -> end of its life, in microseconds of this server's clock
--       3 names     sorted set of the names that have a line, all with score 0
--       4 queue     sorted set: claim -> number of its arrival
--       5 claims    hash: claim -> its record; beside them '#' the last arrival, '!' the revision,
--                   '%' the number of permits in force, '+' how many claims are permits
--       6 held      hash: name -> how many claims one session has there, for its end
-- ARGV: 1 the name's path, 2 the prefix of channels
--
-- A claim counts while its session does. The dead are passed over, and taken out where they are met.

local meta, sessions, names, queue, claims = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local path, channels = ARGV[1], ARGV[2]
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local changed = false

local function text(number)
  return string.format('%.0f', number)
end

local function lives(session)
  local ends = redis.call('ZSCORE', sessions, session)
  return ends and tonumber(ends) > now
end

local function load(id)
  local record = redis.call('HGET', claims, id)
  if not record then return nil end
  local claim = cmsgpack.unpack(record)
  claim.id = id
  return claim
end

local function store(claim)
  redis.call('HSET', claims, claim.id, cmsgpack.pack({
    session = claim.session, mode = claim.mode, of = claim.of,
    token = claim.token, client = claim.client, value = claim.value,
  }))
end

-- Puts a claim at the end of the line. Its record is stored by whoever calls, once it is known whether it holds.
local function arrive(claim)
  redis.call('ZADD', queue, redis.call('HINCRBY', claims, '#', 1), claim.id)
  redis.call('ZADD', names, 0, path)
  if claim.mode == 'permit' then
    redis.call('HSET', claims, '%', claim.of)
    redis.call('HINCRBY', claims, '+', 1)
  end
  changed = true
end

local function leave(claim)
  redis.call('ZREM', queue, claim.id)
  redis.call('HDEL', claims, claim.id)
  if claim.mode == 'permit' then
    redis.call('HINCRBY', claims, '+', -1)
  end
  changed = true
end

-- Counts a claim in or out of its session's list of names.
local function count_held(by)
  if redis.call('HINCRBY', KEYS[6], path, by) <= 0 then
    redis.call('HDEL', KEYS[6], path)
  end
end

local function grant(claim)
  local last = tonumber(redis.call('HGET', meta, 'token') or '0')
  claim.token = text(math.max(last + 1, now))
  redis.call('HSET', meta, 'token', claim.token)
  changed = true
end

-- Takes the dead out of the head of the line and grants to those who fit now. Returns the run of holders, and the
-- first who waits. Whoever is granted is told, but for `quiet`, who is told by the answer.
local function settle(quiet)
  local run, kept = { count = 0 }, 0
  local function admits(claim)
    if run.count == 0 then return true end
    if claim.mode == 'exclusive' or claim.mode ~= run.mode then return false end
    return claim.mode == 'shared' or (claim.of == run.of and run.count < claim.of)
  end
  run.admits = admits
  while true do
    local ids = redis.call('ZRANGE', queue, kept, kept + 7)
    if #ids == 0 then return run, nil end
    for _, id in ipairs(ids) do
      local claim = load(id)
      if not lives(claim.session) then
        leave(claim)
      else
        if not claim.token then
          if not admits(claim) then return run, claim end
          grant(claim)
          store(claim)
          if id ~= quiet then
            redis.call('PUBLISH', channels .. claim.session, 'granted ' .. id .. ' ' .. claim.token)
          end
        end
        run.mode, run.of, run.count = claim.mode, claim.of, run.count + 1
        run.first = run.first or claim
        kept = kept + 1
      end
    end
  end
end

-- Writes down that the line has changed, and tells those who watch it.
local function finish()
  if not changed then return end
  local revision = redis.call('HINCRBY', meta, 'revision', 1)
  if redis.call('ZCARD', queue) == 0 then
    redis.call('DEL', claims)
    redis.call('ZREM', names, path)
    redis.call('HSET', meta, 'forgotten', revision)
  else
    redis.call('HSET', claims, '!', revision)
  end
  redis.call('PUBLISH', channels .. 'watch:' .. path, revision)
end

local function entry(claim)
  return { claim.id, claim.token or '', claim.mode, claim.of or 0, claim.client, claim.value }
end

-- How long the first holder's session lives without a renewal, in microseconds.
local function until_expiry(run)
  local soonest = now + 3600000000
  if run.first then
    soonest = tonumber(redis.call('ZSCORE', sessions, run.first.session))
  end
  return text(soonest - now)
end
