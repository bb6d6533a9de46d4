-- A process says that it lives, and learns who else does.
--
-- KEYS[1]  zset; a holder, and until when it counts as alive, in ms of Redis's clock
-- ARGV[1]  the holder that says so
-- ARGV[2]  for how long it then counts as alive, in ms
--
-- Reply: all who are alive.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
return redis.call('ZRANGE', KEYS[1], 0, -1)
