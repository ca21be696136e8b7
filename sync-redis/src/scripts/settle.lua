-- Grants to the next in line after a session has ended.
if record == '*' then
  settle()
  finish()
end
return 1
