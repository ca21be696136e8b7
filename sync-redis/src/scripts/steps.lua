-- Executes the steps of several claims in order. Steps at a name that is free or has a single
-- holder are the most frequent, and are executed here with few calls. Steps at a name with a queue
-- use `enqueue` and `withdraw`, which `functions` creates when they are needed.
--
-- ARGV, for each step:
--   to withdraw: name, claim and its session (or '*' instead: an eviction by an operator)
--   to enqueue: name, the record up to its token, the record after its revision, and the intent
--               ('0' to try, '1' to wait, '2' only to look)
-- Reply for each step: the token, if the claim is granted; the former state, for a withdrawal; or a
-- list that begins with a word for the outcome. The script returns the reply of a single step, else
-- a list of replies.

-- Whether any name is watched; the session that is known to be valid; and the last number used, if
-- it is a token that may be used again for a claim of another name.
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
  -- Reading the clock is slow, and releasing a name without a queue does not need it.
  if not now and (record == '*' or not withdraws) then
    clock = redis.call('TIME')
    now = clock[1] * 1000000 + clock[2]
  end

  if answer then
    -- The claim was granted above.
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
        -- The claim of an expired session is skipped.
        if not ends or tonumber(ends) <= now then record = false end
      end
    end
    if not answer and intent == '2' and record ~= '*' then
      answer = { 'evicted' }
    elseif not answer and not record then
      -- Concatenate the clock's text, because formatting numbers is slow.
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
    -- An error is the reply to this step only.
    if not ok then answer = { 'error', type(answer) == 'table' and answer.err or tostring(answer) } end
  end
  answers[#answers + 1] = answer
end
return #answers == 1 and answers[1] or answers
