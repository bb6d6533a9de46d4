-- Looks a session up by a good key. Answers even while Redis refuses writes.
-- KEYS  1 session
-- ARGV  1 digest of the secret presented  2 grace, ms  3 absolute limit, ms
-- Reply {user name, state}; nil if the session is gone or the key not good.
local user, state, created, keys = unpack(redis.call('HMGET', KEYS[1], 'user', 'state', 'created', 'keys'))
local now = clock()
-- Keys expire at the limit; this is for a limit that was lowered meanwhile.
if not keys or now >= created + ARGV[3] then
  return false
end
local ring, at, noticed = present(cjson.decode(keys), ARGV[1], now, tonumber(ARGV[2]))
if not at then
  return false
end
if noticed then
  redis.pcall('HSET', KEYS[1], 'keys', cjson.encode(ring))
end
return { user, state }
