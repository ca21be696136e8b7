clock = redis.call('TIME')
now = clock[1] * 1000000 + clock[2]

