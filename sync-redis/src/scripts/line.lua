-- What the scripts on a name's line share. Before it stands what reads the clock into `now` and the name's record into
-- `record`.
--
-- KEYS: 1 tick    the last number given out, as a token or as the revision of a change
--       2 sessions  hash: session -> end of its life, in microseconds of this server's clock
--       3 names     hash: name -> the record of its only claim, which holds; or '*', for a line that is written out
-- ARGV: 1 the name's path, 2 the start of all keys and channels
--
-- Of the keys in the same slot these are made here, for a line that is written out:
--       queue:NAME   sorted set: claim -> number of its arrival
--       claims:NAME  hash: claim -> its record; beside them '#' the last arrival, '!' the revision,
--                    '%' the number of permits in force, '+' how many claims are permits
--       held:SESSION hash: name -> how many claims the session has in its line, for the session's end
--
-- The record of an only claim: its id and its session, 32 characters each; the first letter of its mode, and its permits;
-- its token; its revision; the length of its client's name, that name, and its value.
--
-- A claim counts while its session does. The dead are passed over, and taken out where they are met.

local tick, sessions, names = KEYS[1], KEYS[2], KEYS[3]
local path, channels = ARGV[1], ARGV[2] .. 'on:'
local queue, claims = ARGV[2] .. 'queue:' .. path, ARGV[2] .. 'claims:' .. path
local changed = false

local function text(number)
  return string.format('%.0f', number)
end

local function lives(session)
  local ends = redis.call('HGET', sessions, session)
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

-- Counts a claim in or out of its session's list of names.
local function count_held(session, by)
  local held = ARGV[2] .. 'held:' .. session
  if redis.call('HINCRBY', held, path, by) <= 0 then
    redis.call('HDEL', held, path)
  end
end

-- Puts a claim at the end of the line. Its record is stored by whoever calls, once it is known whether it holds.
local function arrive(claim)
  redis.call('ZADD', queue, redis.call('HINCRBY', claims, '#', 1), claim.id)
  redis.call('HSET', names, path, '*')
  count_held(claim.session, 1)
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

local function grant(claim)
  local last = tonumber(redis.call('GET', tick) or '0')
  claim.token = text(math.max(last + 1, now))
  redis.call('SET', tick, claim.token)
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
  local revision = redis.call('INCR', tick)
  if redis.call('ZCARD', queue) == 0 then
    redis.call('DEL', claims)
    redis.call('HDEL', names, path)
  else
    redis.call('HSET', claims, '!', revision)
  end
  redis.call('PUBLISH', channels .. 'watch:' .. path, '')
end

local function entry(claim)
  return { claim.id, claim.token or '', claim.mode, claim.of or 0, claim.client, claim.value }
end

-- How long the first holder's session lives without a renewal, in microseconds.
local function until_expiry(run)
  local soonest = now + 3600000000
  if run.first then
    soonest = tonumber(redis.call('HGET', sessions, run.first.session))
  end
  return text(soonest - now)
end

-- The only claim of a name whose line is not written out, if it lives.
local function holder_alone()
  if not record or record == '*' then return nil end
  local letter, of, token, revision, length, rest =
    string.match(string.sub(record, 65), '^(%a)(%d+) (%d+) (%d+) (%d+) (.*)$')
  local claim = {
    id = string.sub(record, 1, 32), session = string.sub(record, 33, 64), of = tonumber(of), token = token,
    mode = ({ e = 'exclusive', s = 'shared', p = 'permit' })[letter],
    client = string.sub(rest, 1, length), value = string.sub(rest, length + 1),
  }
  if not lives(claim.session) then return nil end
  return claim, revision
end

-- Writes out the line of a name that has had one claim only.
local function write_out(claim)
  arrive(claim)
  store(claim)
end
