-- Creates a session without a key for an external user.
-- KEYS  1 session (hash)  2 sessions of the user (sorted set: sids by absolute limit)  3 keep-out
-- ARGV  1 sid  2 user  3 display name, may be empty  4 lifetime until a key is issued, ms  5 absolute limit, ms
--       6 maximum number of sessions
-- Reply {'created'}; {'full', sid of the oldest} if the user has so many sessions; {'kept_out', ms}
local left = redis.call('PTTL', KEYS[3])
if left > 0 then
  return { 'kept_out', left }
end
local now = clock()
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
local sids = redis.call('ZRANGE', KEYS[2], 0, -1)
if #sids >= tonumber(ARGV[6]) then
  return { 'full', sids[1] }
end
-- No session of the user lasts longer than the newest one can, so the set need not be extended with them.
local limit = string.format('%.0f', now + tonumber(ARGV[5]))
redis.call('ZADD', KEYS[2], limit, ARGV[1])
redis.call('PEXPIREAT', KEYS[2], limit)
redis.call('HSET', KEYS[1], 'user', ARGV[2], 'created', string.format('%.0f', now))
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[1], 'name', ARGV[3])
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return { 'created' }
