-- What every script begins with; only `alone.lua` comes before it.
--
-- KEYS: 1 table  hash of all that is short:
--         NAME     the record of its only claim, which holds; or '*', for a line that is written out
--         SESSION  the end of its life, in microseconds of this server's clock
--         ?NAME    until when somebody watches the name, by the same clock
--         ?        until when somebody watches any name
--         #        the last number given out, as a token or as the revision of a change
--         @        where the last look for the dead ended
--       A name has a '/' in it; a session is 32 characters without.
--
-- A claim counts while its session does. The dead are passed over, and taken out where they are met.
local all = KEYS[1]
-- What all keys and channels begin with: the key without its last word.
local start = string.sub(all, 1, -6)
-- The server's clock once it is read: as Redis says it, and in microseconds.
local clock, now

-- Tells those who watch a name. Only worth asking for while anybody watches any.
local function tell_watchers(path)
  if redis.call('HEXISTS', all, '?' .. path) == 1 then
    redis.call('PUBLISH', start .. 'on:watch:' .. path, '')
  end
end

