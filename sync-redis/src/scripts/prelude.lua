-- Common start of all scripts. Only `uncontended.lua` precedes it.
--
-- KEYS: 1 table  hash with these fields:
--         NAME     the record of its only claim, a holder; or '*', if the name has a queue
--         SESSION  the end of its life, in microseconds of this server's clock
--         ?NAME    until when the name is watched, by the same clock
--         ?        until when any name is watched
--         #        the last number used, as a token or as the revision of a change
--         @        where the last scan for expired sessions ended
--       A name has a '/' in it; a session is 32 characters without.
--
-- A claim is valid while its session is. Claims of expired sessions are skipped, and removed when
-- found.
local all = KEYS[1]
-- The prefix of all keys and channels: the key of the table without its last word.
local start = string.sub(all, 1, -6)
-- The server's clock, once it is read: as Redis returns it, and in microseconds.
local clock, now

-- Notifies the observers of a name. Callers skip this if they know that no name is watched.
local function tell_watchers(path)
  if redis.call('HEXISTS', all, '?' .. path) == 1 then
    redis.call('PUBLISH', start .. 'on:watch:' .. path, '')
  end
end

