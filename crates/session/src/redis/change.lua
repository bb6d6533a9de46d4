-- Replaces the state of a session, changes its keys, and counts as use of it.
-- KEYS  1 session  2 name
-- ARGV  1 digest of the secret presented  2 'keep', 'rotate' or 'renew'  3 digest of the new secret  4 salt
--       5 state  6 idle, ms  7 absolute limit, ms  8 grace, ms
-- Reply the salts that lead from the secret presented to the one that its bearer gets; nil if the session is gone or
--       the key not good: then nothing is done.
local created, keys = unpack(redis.call('HMGET', KEYS[1], 'created', 'keys'))
local now, max = clock(), tonumber(ARGV[7])
if not keys or now >= created + max then
  return false
end
local ring, at = present(cjson.decode(keys), ARGV[1], now, tonumber(ARGV[8]))
if not at then
  return false
end
local changed, salts = change(ring, at, ARGV[2], ARGV[3], ARGV[4], now)
redis.call('HSET', KEYS[1], 'keys', cjson.encode(changed), 'state', ARGV[5])
extend(KEYS[1], KEYS[2], tonumber(created), now, tonumber(ARGV[6]), max)
return salts
