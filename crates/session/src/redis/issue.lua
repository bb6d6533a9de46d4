-- Gives a session its first key.
-- KEYS  1 session  2 name
-- ARGV  1 digest of the secret  2 state  3 lifetime until the key is presented, ms  4 absolute limit, ms
-- Reply 1; 0 if the session is gone or has a key.
local created, keys = unpack(redis.call('HMGET', KEYS[1], 'created', 'keys'))
if not created or keys then
  return 0
end
redis.call('HSET', KEYS[1], 'keys', cjson.encode({ { digest = ARGV[1] } }), 'state', ARGV[2])
extend(KEYS[1], KEYS[2], tonumber(created), clock(), tonumber(ARGV[3]), tonumber(ARGV[4]))
return 1
