-- Steps of several claims, one after the other, as they came. What happens most, at a name that is free or that one claim
-- holds, is here and takes few calls; at a name with a line of its own it is `enqueue` and `withdraw`, which are made by
-- `functions` when they are wanted.
--
-- ARGV, for each step:
--   to withdraw: name, claim and its session (or '*' instead: an operator's break)
--   to enqueue: name, the record up to its token, the record after its revision, intent ('0' to try, '1' to wait, '2' to look
--               only)
-- Returns for each step: a token, if the claim holds; what a withdrawal found; or a list that begins with what it says. Where
-- there is one step it returns its answer, else a list of answers.

-- Whether somebody watches any name; the session that is known to live; and the last number given out, if it is a token
-- that may be given again, to a claim of another name.
local watched, living, token

local answers, at = {}, 1
while at <= #ARGV do
  local path, head, tail, intent = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local withdraws = #head <= 64
  local record, ends, last, session, answer
  if withdraws then
    at = at + 2
    if watched == nil then
      local found = redis.call('HMGET', all, path, '?')
      record, watched = found[1], found[2]
    else
      record = redis.call('HGET', all, path)
    end
  else
    at = at + 4
    session = string.sub(head, 33, 64)
    if token and session == living and intent ~= '2'
      and redis.call('HSETNX', all, path, head .. ' ' .. token .. ' ' .. token .. ' ' .. tail) == 1 then
      if watched then tell_watchers(path) end
      answer = token
    else
      local found = redis.call('HMGET', all, path, session, '#', '?')
      record, ends, last, watched = found[1], found[2], found[3], found[4]
    end
  end
  -- Slow, and a withdrawal of who holds alone needs no clock.
  if not now and (record == '*' or not withdraws) then
    clock = redis.call('TIME')
    now = clock[1] * 1000000 + clock[2]
  end

  if answer then
    -- It holds.
  elseif withdraws and record ~= '*' then
    local breaks = string.sub(head, 33) == '*'
    if record and (string.sub(record, 1, 64) == head or breaks and string.sub(record, 1, 32) == string.sub(head, 1, 32)) then
      redis.call('HDEL', all, path)
      if token and token == string.match(record, ' (%d+)', 66) then token = nil end
      if breaks then
        redis.call('PUBLISH', start .. 'on:' .. string.sub(record, 33, 64), 'evicted ' .. string.sub(head, 1, 32))
      end
      if watched then tell_watchers(path) end
      answer = 'held'
    else
      answer = 'absent'
    end
  elseif not withdraws then
    if not ends or tonumber(ends) <= now then
      answer = { 'gone' }
    elseif record and record ~= '*' then
      local holder = string.sub(record, 33, 64)
      if string.sub(record, 1, 32) == string.sub(head, 1, 32) then
        answer = session == holder and string.match(record, ' (%d+)', 66) or { 'taken' }
      else
        ends = redis.call('HGET', all, holder)
        -- A dead holder is passed over.
        if not ends or tonumber(ends) <= now then record = false end
      end
    end
    if not answer and intent == '2' and record ~= '*' then
      answer = { 'evicted' }
    elseif not answer and not record then
      -- The clock as it is written, for numbers are slow to write.
      token = clock[1] .. string.sub('00000' .. clock[2], -6)
      if last and tonumber(last) >= now then token = string.format('%.0f', tonumber(last) + 1) end
      redis.call('HSET', all, path, head .. ' ' .. token .. ' ' .. token .. ' ' .. tail, '#', token)
      living = session
      if watched then tell_watchers(path) end
      answer = token
    end
  end

  if not answer then
    token = nil
    local enqueue, withdraw = functions()
    local ok
    if withdraws then
      ok, answer = pcall(withdraw, path, record, string.sub(head, 33), string.sub(head, 1, 32))
    else
      ok, answer = pcall(enqueue, path, record, intent, session, head, tail)
    end
    -- What goes wrong there is the answer to this step alone.
    if not ok then answer = { 'error', type(answer) == 'table' and answer.err or tostring(answer) } end
  end
  answers[#answers + 1] = answer
end
return #answers == 1 and answers[1] or answers
