-- Steps of several claims, one after the other, as they came. What happens most, at a name that is free or that one claim
-- holds, is here and takes few calls; at a name with a line of its own it is `enqueue` and `withdraw`, which are made by
-- `functions` when they are wanted.
--
-- ARGV, for each step:
--   to enqueue: intent ('0' to try, '1' to wait, '2' to look only), name, session, the record up to its token, the record
--               after its revision
--   to withdraw: 'w', name, session or '*' (an operator's break), claim
-- Returns for each step: a token, if the claim holds; what a withdrawal found; or a list that begins with what it says.

-- Whether somebody watches any name; the session that is known to live; and the last number given out, if it is a token
-- that may be given again, to a claim of another name.
local watched, living, token

-- At a name with a line of its own. What goes wrong there is the answer to this step alone.
local function in_line(index, ...)
  token = nil
  if not now then read_clock() end
  local ok, answer = pcall(select(index, functions()), ...)
  if ok then return answer end
  return { 'error', type(answer) == 'table' and answer.err or tostring(answer) }
end

local answers, at = {}, 1
while at <= #ARGV do
  local step, path, session, claim = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local answer
  if step == 'w' then
    at = at + 4
    local record
    if watched == nil then
      local found = redis.call('HMGET', all, path, '?')
      record, watched = found[1], found[2]
    else
      record = redis.call('HGET', all, path)
    end
    local holder = record and string.sub(record, 33, 64)
    if record == '*' then
      answer = in_line(2, path, record, session, claim)
    elseif record and string.sub(record, 1, 32) == claim and (session == holder or session == '*') then
      redis.call('HDEL', all, path)
      if token == string.match(record, ' (%d+)', 66) then token = nil end
      if session == '*' then redis.call('PUBLISH', start .. 'on:' .. holder, 'evicted ' .. claim) end
      if watched then tell_watchers(path) end
      answer = 'held'
    else
      answer = 'absent'
    end
  else
    local tail = ARGV[at + 4]
    at = at + 5
    if token and session == living and step ~= '2'
      and redis.call('HSETNX', all, path, claim .. ' ' .. token .. ' ' .. token .. ' ' .. tail) == 1 then
      if watched then tell_watchers(path) end
      answer = token
    else
      if not now then read_clock() end
      local found = redis.call('HMGET', all, path, session, '#', '?')
      local record, ends, last = found[1], found[2], found[3]
      watched = found[4]
      if not ends or tonumber(ends) <= now then
        answer = { 'gone' }
      elseif record and record ~= '*' then
        local holder = string.sub(record, 33, 64)
        if string.sub(record, 1, 32) == string.sub(claim, 1, 32) then
          answer = session == holder and string.match(record, ' (%d+)', 66) or { 'taken' }
        else
          ends = redis.call('HGET', all, holder)
          -- A dead holder is passed over.
          if not ends or tonumber(ends) <= now then record = false end
        end
      end
      if answer then
        -- It is said.
      elseif step == '2' and record ~= '*' then
        answer = { 'evicted' }
      elseif record then
        answer = in_line(1, path, record, step, session, claim, tail)
      else
        -- The clock as it is written, for numbers are slow to write.
        token = clock[1] .. string.sub('00000' .. clock[2], -6)
        if last and tonumber(last) >= now then token = string.format('%.0f', tonumber(last) + 1) end
        redis.call('HSET', all, path, claim .. ' ' .. token .. ' ' .. token .. ' ' .. tail, '#', token)
        living = session
        if watched then tell_watchers(path) end
        answer = token
      end
    end
  end
  answers[#answers + 1] = answer
end
return answers
