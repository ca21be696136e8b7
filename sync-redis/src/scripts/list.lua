-- Returns the names with claims that begin with a prefix, which contains a '/'.
-- ARGV: 1 prefix
local found, table_of = {}, {}
local fields = redis.call('HGETALL', all)
for index = 1, #fields, 2 do table_of[fields[index]] = fields[index + 1] end
for name, record in pairs(table_of) do
  if string.sub(name, 1, #ARGV[1]) == ARGV[1] then
    local ends = table_of[string.sub(record, 33, 64)]
    if record == '*' or (ends and tonumber(ends) > now) then found[#found + 1] = name end
  end
end
return found
