-- Creates a session without a key and claims its name.
-- KEYS  1 session (hash)  2 name (string: the sid of the session that holds it)
-- ARGV  1 sid  2 user name  3 lifetime of both until a key is issued, ms
-- Reply 1; 0 if another session holds the name.
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[3]) then
  return 0
end
redis.call('HSET', KEYS[1], 'user', ARGV[2], 'created', string.format('%.0f', clock()))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
