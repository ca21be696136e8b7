local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local record = redis.call('HGET', KEYS[3], ARGV[1])

