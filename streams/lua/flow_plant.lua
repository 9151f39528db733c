-- flow_plant: store stages of a flow, each after those that come before it.
--
-- uses  ledger append accept finish flow
-- ARGV  id        str  flow, which is the id of its own job
--       job       str  who plants: the flow's own job, or a running stage that adds stages
--       token     str  of that job's lease
--       round     int  of the flow: its job's attempts may repeat a round, a retry begins another
--       stages    int  of the whole flow; a stage that adds some counts them by itself
--       deadline  int  ms that the flow may take, 0 for any: from its submit on, or from its retry
--       result    str  job whose result is the flow's; `each NAME`: the list of that stage's; or empty
--       name      str
--       input     str  JSON, to which stages may refer
--       rest...   stage, kind (one|each), policy (fail|continue|skip), after, before (names, a comma
--                 after each; before: stages not yet started that wait for this one too), plan (JSON,
--                 for the workers), then a row as in accept, of blanks for `each`
-- Returns planted, stopped (the flow has been) or lost (the token is not the newest). Repeatable: a
-- stage that is there stays. A job that an earlier round brought to success counts as done.
local HEAD = 6
local owner = read_job(job)
if not owner or owner.state ~= 'active' or owner.token ~= token then return 'lost' end
local key, own = flow_ .. id, job == id

if own and redis.call('HGET', key, 'round') ~= round then
  redis.call('DEL', key)
  redis.call('HSET', key, 'state', 'running', 'round', round, 'left', stages, 'total', stages, 'open', 0,
    'result', result, 'name', name, 'input', input, 'at', now_text)
  redis.call('PERSIST', flow_jobs_ .. id)
  redis.call('HSET', job_ .. id, 'parts', 1)
  local began = round == '0' and tonumber(owner.at) or now
  if tonumber(deadline) > 0 then redis.call('ZADD', expiring, began + deadline, id) end
end
if redis.call('HGET', key, 'state') ~= 'running' then return 'stopped' end

local following = {}

local function wait_for(stage, after)
  local waits = 0
  for before in string.gmatch(after, '([^,]+),') do
    local ended = redis.call('HGET', key, 'e:' .. before)
    if not ended then
      following[before] = (following[before] or '') .. stage .. ','
      waits = waits + 1
    elseif string.sub(ended, 1, 4) == 'doom' then
      redis.call('HSET', key, 'd:' .. stage, 1)
    end
  end
  return waits
end

-- The stage's job: new, or of an earlier round. Says whether it has succeeded already.
local function store_job(stage, i)
  local state, created = accept(ARGV, i, id, stage)
  if created == 1 then
    redis.call('RPUSH', flow_jobs_ .. id, ARGV[i])
  elseif state == 'succeeded' then
    redis.call('PERSIST', job_ .. ARGV[i])
    redis.call('PERSIST', result_ .. ARGV[i])
    return true
  else
    revive(ARGV[i], 'blocked')
  end
  redis.call('HINCRBY', key, 'open', 1)
  return false
end

for i = rest, #ARGV, HEAD + ROW do
  local stage, kind, policy, after, before = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  if redis.call('HEXISTS', key, 's:' .. stage) == 0 then
    local waits, one = wait_for(stage, after), kind == 'one'
    redis.call('HSET', key, 's:' .. stage, kind .. ' ' .. policy .. ' ' .. (one and ARGV[i + HEAD] or '-'),
      'p:' .. stage, ARGV[i + 5], 'w:' .. stage, waits, 'l:' .. stage, one and 1 or 0)
    if not own then
      redis.call('HINCRBY', key, 'left', 1)
      redis.call('HINCRBY', key, 'total', 1)
    end
    for waiting in string.gmatch(before, '([^,]+),') do
      if tonumber(redis.call('HGET', key, 'w:' .. waiting) or 0) > 0 then
        redis.call('HINCRBY', key, 'w:' .. waiting, 1)
        following[stage] = (following[stage] or '') .. waiting .. ','
      end
    end
    if one and store_job(stage, i + HEAD) then
      redis.call('HSET', key, 'l:' .. stage, 0)
      step(id, 'after', stage, 1, 'good')
    elseif waits == 0 then
      step(id, 'release', stage)
    end
  end
end
for stage, names in pairs(following) do
  redis.call('HSET', key, 'k:' .. stage, (redis.call('HGET', key, 'k:' .. stage) or '') .. names)
end
close()
return 'planted'
