-- Records that an instance is alive, and returns all instances that are.
--
-- KEYS[1]  zset; member: instance, score: time until which it counts as alive, in ms by the clock of Redis
-- ARGV[1]  instance that sends the heartbeat
-- ARGV[2]  how long it counts as alive from now on, in ms
--
-- Reply: the instances that are alive.

local expiries, instance, lifetime = KEYS[1], ARGV[1], tonumber(ARGV[2])

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', expiries, string.format('%.0f', now + lifetime), instance)
-- A dead instance is kept for one lifetime more, so that its room counts stay visible until the others wrote theirs.
redis.call('ZREMRANGEBYSCORE', expiries, '-inf', string.format('%.0f', now - lifetime))
return redis.call('ZRANGE', expiries, string.format('(%.0f', now), '+inf', 'BYSCORE')
