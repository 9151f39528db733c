-- log: keep lines that attempts logged, each fenced by its token. One that was settled may still bring
-- its last ones, one that was lost may not.
--
-- KEYS  job_  HASH  by job: `log:<attempt>`
-- ARGV  rest...  job, token, attempt, bytes that are there already, lines
-- Returns how many were accepted. Repeated, nothing is written twice.
local accepted = 0
for i = rest, #ARGV, 5 do
  local key, token, number = job_ .. ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local field = 'log:' .. number
  local row = redis.call('HMGET', key, 'lease', field, 'try:' .. number)
  local there = row[2] or ''
  local own = string.match(row[1] or '', '^%d+\t([^\t]*)') == token or (row[3] and string.find(row[3], '\t' .. token .. '\t', 1, true))
  if own and #there == tonumber(ARGV[i + 3]) then
    redis.call('HSET', key, field, there .. ARGV[i + 4])
    accepted = accepted + 1
  end
end
return accepted
