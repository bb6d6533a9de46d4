-- Replaces the state of a session, changes its keys and extends it.
-- KEYS  1 session  2 name
-- ARGV  1 digest of the presented secret  2 'keep', 'rotate' or 'renew'  3 digest of the new secret  4 salt
--       5 state  6 idle time, ms  7 absolute limit, ms  8 grace period, ms
-- Reply the salts that derive the bearer's new secret from the presented one; nil, and no change, if the session is
--       gone or the key is not valid.
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
