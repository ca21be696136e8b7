-- Grants to the next in line after a session has ended.
settle()
finish()
return 1
