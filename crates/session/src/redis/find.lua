-- Looks a session up by a good key, and counts as use of it. Answers even while Redis refuses writes.
-- KEYS  1 session  2 name
-- ARGV  1 digest of the secret presented  2 idle, ms  3 absolute limit, ms  4 grace, ms
-- Reply {user name, state}; nil if the session is gone or the key not good.
local user, state, created, keys = unpack(redis.call('HMGET', KEYS[1], 'user', 'state', 'created', 'keys'))
local now, max = clock(), tonumber(ARGV[3])
-- Keys expire at the limit; this is for a limit that was lowered meanwhile.
if not keys or now >= created + max then
  return false
end
local ring, at, noticed = present(cjson.decode(keys), ARGV[1], now, tonumber(ARGV[4]))
if not at then
  return false
end
if noticed then
  redis.pcall('HSET', KEYS[1], 'keys', cjson.encode(ring))
end
extend(KEYS[1], KEYS[2], tonumber(created), now, tonumber(ARGV[2]), max)
return { user, state }
