"""What the demo model is taught: tables of things, reasons, steps and small talk.

Every line was written for this model. A table's columns are separated by ` | `.
"""

# name | plural (or - for names that take no article) | first sentence | second sentence
TECH = """
Candela | - | Candela is a Kubernetes operator and an inference engine written in Rust. | It serves language models and tells every caller what a request cost.
Kubernetes | - | Kubernetes is a system that runs containers on many machines. | You say what should run, and Kubernetes keeps it running.
pod | pods | A pod is the smallest thing that Kubernetes runs. | It holds one or more containers that share a network address.
node | nodes | A node is one machine in a cluster. | Kubernetes places pods on nodes that have enough room.
cluster | clusters | A cluster is a group of machines that work together. | In Kubernetes the machines of a cluster are called nodes.
container | containers | A container is a program packed together with the files it needs. | It runs the same way on every machine.
container image | container images | A container image is a package of files from which a container starts. | It is built once and can run in many places.
deployment | deployments | A deployment keeps a number of equal pods running. | When the pod template changes, it replaces the old pods with new ones.
service | services | A service gives a group of pods one stable address. | It sends each request to a pod that is ready.
namespace | namespaces | A namespace is a named part of a cluster. | It keeps the objects of one team apart from the others.
operator | operators | An operator is a program that looks after one kind of resource in a cluster. | It compares what is wanted with what is there and makes the changes.
controller | controllers | A controller is a loop that moves a system toward its wanted state. | It watches, compares, and acts.
custom resource | custom resources | A custom resource is a new kind of object that you add to Kubernetes. | An operator gives it a meaning.
InferenceService | InferenceServices | An InferenceService is the resource that tells Candela which model to serve. | Candela turns it into pods and a service.
Helm chart | Helm charts | A Helm chart is a package of templates for Kubernetes. | You install a program in a cluster with one command.
manifest | manifests | A manifest is a file that describes an object in a cluster. | It is usually written in YAML.
YAML | - | YAML is a text format for settings and data. | It uses spaces to show what belongs together.
JSON | - | JSON is a text format for data. | It is made of objects, lists, strings, and numbers.
GPU | GPUs | A GPU is a chip that does many small calculations at the same time. | It makes large models run fast.
CPU | CPUs | A CPU is the main chip of a computer. | It follows the steps of a program one after another, very quickly.
inference | - | Inference is using a trained model to get an answer. | The model reads a prompt and writes one token after another.
training | - | Training is how a model learns from examples. | Its weights are changed a little after each example, until the answers get better.
model | models | A model is a program that has learned patterns from data. | It uses the patterns to give answers to new questions.
language model | language models | A language model is a program that predicts the next piece of a text. | By doing this again and again it writes whole answers.
neural network | neural networks | A neural network is a program made of many simple units in layers. | Each layer turns its numbers into more useful numbers.
token | tokens | A token is a small piece of text, such as a word or a part of a word. | A model reads and writes text as tokens.
tokenizer | tokenizers | A tokenizer cuts text into tokens. | It also turns tokens back into text.
prompt | prompts | A prompt is the text that you give to a model. | The model reads the prompt and then writes the answer.
prefill | - | Prefill is the first part of a request, when the model reads the whole prompt. | It ends with the first token of the answer.
decode | - | Decode is the part of a request when the model writes the answer. | It makes one token at a time.
latency | - | Latency is the time you wait for an answer. | A low latency feels fast.
throughput | - | Throughput is how much work is done in a second. | For a language model it is counted in tokens per second.
queue | queues | A queue is a line of things that wait for their turn. | A request waits in the queue until the engine has room for it.
time to first token | - | Time to first token is how long you wait until the answer begins. | It is the time in the queue and the time of the prefill.
KV cache | - | The KV cache keeps what the model has already read. | With it, each new token needs only a little work.
batch | batches | A batch is a group of requests that are worked on together. | A batch uses the machine better than single requests.
continuous batching | - | Continuous batching lets new requests join a running batch at every step. | No request has to wait until the others are done.
attention | - | Attention lets a model look back at the words that matter for the next one. | It is the heart of a language model.
embedding | embeddings | An embedding is a list of numbers that stands for a word or a text. | Texts with a similar meaning have similar numbers.
temperature | - | Temperature says how freely a model picks the next token. | At zero it always picks the most likely one.
greedy decoding | - | Greedy decoding always picks the most likely token. | It gives the same answer every time.
sampling | - | Sampling is picking the next token by chance. | Likely tokens are picked more often than unlikely ones.
weight | weights | A weight is a number that a model has learned. | A small model has millions of weights, and a large one has billions.
context window | context windows | A context window is the amount of text that a model can see at once. | It is counted in tokens.
quantization | - | Quantization stores the numbers of a model with fewer bits. | The model gets smaller and faster, and a little less exact.
streaming | - | Streaming sends an answer piece by piece while it is written. | You can read the start before the end is there.
API | APIs | An API is a way for programs to talk to each other. | It says which questions a program may ask and what the answers look like.
header | headers | A header is a short line that travels with a request or an answer. | Candela uses headers to say what a request cost.
request | requests | A request is a message that asks a server to do something. | The server sends back a response.
response | responses | A response is the message that a server sends back. | It carries the answer or an error.
server | servers | A server is a program that waits for requests and answers them. | Many people can use one server at the same time.
log | logs | A log is a list of lines that a program writes about its work. | It helps people to find out what happened.
metric | metrics | A metric is a number that is measured again and again. | It shows how well a system works.
Prometheus | - | Prometheus is a program that collects metrics and keeps them over time. | It reads them from the servers that it watches.
Rust | - | Rust is a programming language that is fast and safe. | Candela is written in Rust.
Python | - | Python is a programming language that is easy to read. | Many people use it to work with data.
Linux | - | Linux is a free operating system. | It runs on most servers of the world.
computer | computers | A computer is a machine that follows the steps of a program. | It can calculate, store, and show things.
program | programs | A program is a list of steps for a computer. | People write programs in a programming language.
internet | - | The internet is a network that connects computers all over the world. | People use it to send messages and to find information.
bug | bugs | A bug is a mistake in a program. | A good test finds it before the users do.
test | tests | A test is a small program that checks another program. | It tells you when something breaks.
file | files | A file is a piece of data with a name. | It is kept on a disk.
robot | robots | A robot is a machine that can move and do work by itself. | Some robots build cars, and others clean floors.
"""

THINGS = """
sun | - | The sun is a star, a huge ball of hot gas. | It gives light and warmth to the earth.
moon | - | The moon is a ball of rock that travels around the earth. | It shines at night because the sun lights it up.
earth | - | The earth is the planet that we live on. | It has land, water, and air.
star | stars | A star is a huge ball of hot gas far away in space. | We see it as a small point of light at night.
planet | planets | A planet is a large ball that travels around a star. | The earth is a planet.
rain | - | Rain is water that falls from the clouds in drops. | Plants need it to grow.
snow | - | Snow is frozen water that falls from the clouds in white flakes. | It comes in winter when the air is very cold.
wind | - | Wind is moving air. | It can turn a windmill or push a sailing boat.
cloud | clouds | A cloud is made of many tiny drops of water. | When the drops grow heavy, they fall as rain.
river | rivers | A river is a long stream of water that flows to the sea. | Fish live in it, and boats travel on it.
sea | seas | The sea is a very large body of salt water. | Many fish and whales live in it.
mountain | mountains | A mountain is a very high piece of land. | There is often snow on the top.
forest | forests | A forest is a large place with many trees. | Foxes, deer, and owls live there.
desert | deserts | A desert is a dry place where it almost never rains. | It is hot in the day and cold at night.
island | islands | An island is a piece of land with water all around it. | You can reach it by boat.
tree | trees | A tree is a tall plant with a trunk, branches, and leaves. | Birds like to build nests in it.
flower | flowers | A flower is the colourful part of a plant. | Bees visit it to find sweet juice.
apple | apples | An apple is a round fruit that grows on a tree. | It can be red, green, or yellow.
banana | bananas | A banana is a long yellow fruit. | It is soft and sweet inside.
orange | oranges | An orange is a round fruit with a thick skin. | It is full of sweet juice.
bread | - | Bread is a food made of flour, water, and yeast. | It is baked in a hot oven.
cheese | - | Cheese is a food made from milk. | There are hard kinds and soft kinds.
milk | - | Milk is a white drink that comes from cows. | People make butter and cheese from it.
tea | - | Tea is a warm drink made from leaves and hot water. | Many people drink it in the afternoon.
coffee | - | Coffee is a dark drink made from roasted beans. | It helps people to stay awake.
water | - | Water is a clear liquid that all living things need. | It fills the rivers and the seas.
fire | - | Fire is hot and bright, and it needs air and wood to burn. | It keeps people warm, but it can be dangerous.
ice | - | Ice is frozen water. | It is cold and hard, and it melts in the sun.
house | houses | A house is a building where people live. | It has walls, windows, and a roof.
school | schools | A school is a place where children learn. | Teachers help them to read, write, and count.
library | libraries | A library is a place with many books. | You can read there or take books home for a while.
book | books | A book is a set of pages with words or pictures. | You read it to learn or to enjoy a story.
bridge | bridges | A bridge is a way over a river or a road. | People and cars can cross it.
car | cars | A car is a machine with four wheels and an engine. | People drive it on roads.
train | trains | A train is a long row of wagons that runs on rails. | It carries many people at once.
bicycle | bicycles | A bicycle has two wheels and two pedals. | You ride it by pushing the pedals with your feet.
boat | boats | A boat is a thing that floats and carries people over water. | Some boats have sails, and others have engines.
plane | planes | A plane is a machine with wings that flies through the air. | It carries people to far places.
clock | clocks | A clock is a thing that shows the time. | It has a long hand and a short hand.
lamp | lamps | A lamp is a thing that gives light. | You turn it on when it gets dark.
candle | candles | A candle is a stick of wax with a string in the middle. | When you light it, it gives a small warm flame.
key | keys | A key is a small piece of metal that opens a lock. | It is good to keep it in a safe place.
umbrella | umbrellas | An umbrella keeps you dry when it rains. | You open it and hold it over your head.
music | - | Music is made of sounds that go well together. | People sing it or play it on instruments.
piano | pianos | A piano is an instrument with black and white keys. | Each key plays a different note.
rainbow | rainbows | A rainbow is a bow of colours in the sky. | You can see it when the sun shines through the rain.
winter | - | Winter is the cold part of the year. | The days are short, and sometimes it snows.
summer | - | Summer is the warm part of the year. | The days are long, and many people go to the sea.
spring | - | Spring is the part of the year when plants begin to grow. | The days get longer and warmer.
autumn | - | Autumn is the part of the year when the leaves fall. | The days get shorter and cooler.
doctor | doctors | A doctor is a person who helps sick people. | Many doctors work in a hospital.
teacher | teachers | A teacher is a person who helps others to learn. | Most teachers work in a school.
farmer | farmers | A farmer is a person who grows food and keeps animals. | The work begins early in the morning.
baker | bakers | A baker is a person who makes bread and cakes. | The work begins before the sun is up.
friend | friends | A friend is a person you like and trust. | Friends help each other and laugh together.
love | - | Love is a warm feeling for someone who matters to you. | It makes people kind and brave.
dream | dreams | A dream is a story that your mind makes while you sleep. | Some dreams are nice, and some are strange.
gravity | - | Gravity is the force that pulls things down to the ground. | It also keeps the moon near the earth.
time | - | Time is what a clock measures. | It always goes forward and never back.
pear | pears | A pear is a sweet fruit that is thin at the top and round at the bottom. | It grows on a tree.
lemon | lemons | A lemon is a yellow fruit with a very sour taste. | Its juice goes well with tea and fish.
tomato | tomatoes | A tomato is a round red fruit that people use like a vegetable. | It is good in soups and salads.
potato | potatoes | A potato is a vegetable that grows under the ground. | You can boil it, bake it, or fry it.
carrot | carrots | A carrot is a long orange vegetable. | It grows under the ground, and rabbits love it.
egg | eggs | An egg is laid by a hen. | You can boil it, fry it, or bake a cake with it.
cake | cakes | A cake is a sweet food baked from flour, sugar, eggs, and butter. | People eat it on birthdays.
soup | soups | A soup is a warm food that you eat with a spoon. | It is made of water, vegetables, and sometimes meat.
salt | - | Salt is a white mineral that gives food more taste. | It comes from the sea or from the ground.
sugar | - | Sugar is a sweet white powder made from plants. | It is in cakes, chocolate, and many drinks.
honey | - | Honey is a sweet golden food that bees make. | You can put it on bread or in your tea.
chocolate | - | Chocolate is a sweet brown food made from cocoa beans. | Most people like it very much.
pizza | pizzas | A pizza is a flat round bread with tomatoes and cheese on top. | It is baked in a very hot oven.
rice | - | Rice is a small white grain. | In many countries people eat it every day.
hand | hands | A hand is the part of the body at the end of the arm. | It has five fingers.
heart | hearts | The heart is the part of the body that moves the blood. | It beats all day and all night.
brain | brains | The brain is the part of the body that thinks. | It is in the head.
eye | eyes | An eye is the part of the body that sees. | Most people have two of them.
hat | hats | A hat is a thing that you wear on your head. | It keeps you warm or keeps the sun away.
shoe | shoes | A shoe is a thing that you wear on your foot. | Shoes always come in pairs.
coat | coats | A coat is a warm thing that you wear in the cold. | It has long sleeves and buttons.
table | tables | A table is a flat board on four legs. | People eat, write, and work at it.
chair | chairs | A chair is a thing that you sit on. | It has four legs and a back.
bed | beds | A bed is a soft place where you sleep. | It has a pillow and a blanket.
door | doors | A door is a way into a house or a room. | You can open it, close it, and lock it.
window | windows | A window is a piece of glass in a wall. | It lets the light in, and you can look out.
mirror | mirrors | A mirror is a piece of glass that shows you yourself. | Left and right are changed in it.
garden | gardens | A garden is a place where people grow flowers and vegetables. | It needs sun, water, and some work.
farm | farms | A farm is a place where people grow food and keep animals. | There are cows, hens, and pigs on many farms.
city | cities | A city is a large place where many people live close together. | It has streets, shops, and schools.
village | villages | A village is a small place in the country. | Most people there know each other.
street | streets | A street is a road with houses on both sides. | Cars, bicycles, and people use it.
shop | shops | A shop is a place where you can buy things. | You choose something, pay for it, and take it home.
hospital | hospitals | A hospital is a place where sick people are helped. | Doctors and nurses work there day and night.
park | parks | A park is a large garden for everyone. | People walk, play, and rest there.
beach | beaches | A beach is the sand at the edge of the sea. | People swim and play there in the summer.
lake | lakes | A lake is a large piece of water with land all around it. | You can swim or row a boat on it.
valley | valleys | A valley is the low land between two mountains. | Often a river runs through it.
volcano | volcanoes | A volcano is a mountain from which hot melted rock can come. | Most of the time it is quiet.
storm | storms | A storm is very strong wind, often with rain. | It is good to stay inside until it is over.
fog | - | Fog is a cloud that lies on the ground. | You cannot see far in it.
lightning | - | Lightning is a bright flash of electricity in the sky. | After it you hear the thunder.
electricity | - | Electricity is a form of energy that flows through wires. | It makes lamps shine and computers run.
energy | - | Energy is what makes things move, shine, or get warm. | Food, wood, and the sun give us energy.
light | - | Light is what lets us see things. | It is the fastest thing that we know.
sound | - | Sound is a shaking of the air that we can hear. | It travels much slower than light.
metal | - | Metal is a hard material that shines. | Iron, gold, and silver are metals.
gold | - | Gold is a yellow metal that is rare and costs a lot. | People make rings and coins from it.
wood | - | Wood is the hard material that trees are made of. | People build houses and tables with it.
glass | - | Glass is a clear hard material made from sand. | It breaks when it falls.
paper | - | Paper is a thin material made from wood. | You can write on it, print on it, or fold it.
pen | pens | A pen is a thing that you write with. | It has ink inside.
phone | phones | A phone is a machine that lets you talk to people far away. | Most phones are small computers now.
camera | cameras | A camera is a machine that takes pictures. | It catches the light for a very short moment.
radio | radios | A radio is a machine that plays music and voices from far away. | It needs no wire to the speaker.
bus | buses | A bus is a long car for many people. | It stops at many places along the street.
ship | ships | A ship is a very large boat. | It carries people and things across the sea.
rocket | rockets | A rocket is a machine that flies into space. | It burns a lot of fuel very quickly.
wheel | wheels | A wheel is a round thing that turns. | It makes heavy things easy to move.
hammer | hammers | A hammer is a tool for hitting nails. | It has a heavy head and a long handle.
ball | balls | A ball is a round thing that you can throw, kick, or roll. | Children and dogs love to play with it.
game | games | A game is something that you play for fun. | It has rules, and sometimes there is a winner.
football | - | Football is a game with two teams and one ball. | The team with more goals wins.
chess | - | Chess is a quiet game for two people on a board. | The one who catches the other king wins.
guitar | guitars | A guitar is an instrument with six strings. | You play it with your fingers.
song | songs | A song is music with words. | People sing it alone or together.
picture | pictures | A picture shows something on paper or on a screen. | You can paint it, draw it, or take it with a camera.
letter | letters | A letter is a message on paper that you send to someone. | It is also a sign such as A, B, or C.
word | words | A word is a group of letters that means something. | Many words together make a sentence.
number | numbers | A number says how many things there are. | One, two, and three are numbers.
question | questions | A question is something that you ask because you want to know the answer. | It ends with a question mark.
money | - | Money is what people use to pay for things. | It comes in coins, in paper, or as a number in a bank.
birthday | birthdays | A birthday is the day on which someone was born. | People celebrate it with a cake once a year.
family | families | A family is a group of people who belong together. | Parents, children, and grandparents are a family.
nurse | nurses | A nurse is a person who cares for sick people. | Many nurses work in a hospital.
cook | cooks | A cook is a person who makes food for others. | Cooks work in a kitchen.
gardener | gardeners | A gardener is a person who looks after plants. | The work is done outside in every season.
sailor | sailors | A sailor is a person who works on a ship. | Sailors are often far from home.
programmer | programmers | A programmer is a person who writes programs for computers. | A good programmer also writes tests.
happiness | - | Happiness is the good feeling you have when all is well. | It grows when you share it.
fear | - | Fear is the feeling you have when something seems dangerous. | It gets smaller when you talk about it.
sleep | - | Sleep is the rest that our body and mind need every night. | Most people need about eight hours.
year | years | A year is the time the earth needs to travel around the sun. | It has twelve months.
week | weeks | A week is seven days long. | It begins on Monday and ends on Sunday.
hour | hours | An hour is a part of the day. | It has sixty minutes.
"""

# name | plural | article phrase | where it lives | what it eats | what it says | legs | colour
ANIMALS = """
fox | foxes | a clever wild animal with a bushy tail | in the forest | mice and berries | barks | four | red
dog | dogs | a friendly animal that lives with people | in a house | meat and dog food | says woof | four | brown, black, or white
cat | cats | a small soft animal that likes to sleep in the sun | in a house | fish and mice | says meow | four | grey, black, or orange
cow | cows | a large farm animal that gives milk | on a farm | grass | says moo | four | brown or black and white
horse | horses | a strong animal that people can ride | on a farm | grass and hay | neighs | four | brown, black, or white
sheep | sheep | a farm animal with thick wool | on a farm | grass | says baa | four | white
pig | pigs | a clever farm animal with a round nose | on a farm | corn and vegetables | says oink | four | pink
goat | goats | a farm animal with horns that climbs well | on a farm | grass and leaves | says baa | four | white or brown
duck | ducks | a bird that swims well | on a pond | plants and small insects | says quack | two | brown or white
hen | hens | a farm bird that lays eggs | on a farm | seeds and corn | clucks | two | brown or white
owl | owls | a bird with big eyes that flies at night | in the forest | mice | says hoo | two | brown
eagle | eagles | a large bird with strong wings | in the mountains | fish and small animals | cries loudly | two | brown
penguin | penguins | a bird that swims well but cannot fly | on the cold southern coast | fish | calls loudly | two | black and white
parrot | parrots | a bright bird that can learn to say words | in warm forests | seeds and fruit | talks | two | green, red, or blue
mouse | mice | a very small animal with a long tail | in a small hole | seeds and cheese | squeaks | four | grey
rabbit | rabbits | a small animal with long ears that hops | in the meadow | grass and carrots | is very quiet | four | brown or white
bear | bears | a big strong animal with thick fur | in the forest | fish, berries, and honey | growls | four | brown
wolf | wolves | a wild animal that lives in a group | in the forest | meat | howls | four | grey
deer | deer | a shy animal with long thin legs | in the forest | grass and leaves | is very quiet | four | brown
squirrel | squirrels | a small animal with a bushy tail that climbs trees | in the trees | nuts and seeds | chatters | four | red or grey
hedgehog | hedgehogs | a small animal with many sharp spines | in the garden | insects and worms | snuffles | four | brown
frog | frogs | a small green animal that jumps far | near a pond | flies | croaks | four | green
snake | snakes | a long thin animal without legs | in the grass | mice and eggs | hisses | no | green or brown
turtle | turtles | a slow animal with a hard shell | near the water | plants and small fish | is very quiet | four | green
fish | fish | an animal that swims and breathes in water | in rivers and in the sea | plants and small animals | is very quiet | no | silver
shark | sharks | a large fish with sharp teeth | in the sea | fish | is very quiet | no | grey
whale | whales | the largest animal in the sea | in the sea | very small sea animals | sings | no | blue or grey
dolphin | dolphins | a clever and playful sea animal | in the sea | fish | clicks and whistles | no | grey
octopus | octopuses | a soft sea animal with eight arms | in the sea | crabs | is very quiet | no | red or brown
lion | lions | a big wild cat with a loud voice | on the grassy plains | meat | roars | four | yellow
tiger | tigers | a big wild cat with black stripes | in the jungle | meat | roars | four | orange and black
elephant | elephants | a very large animal with a long trunk | on the grassy plains | grass and leaves | trumpets | four | grey
giraffe | giraffes | a tall animal with a very long neck | on the grassy plains | leaves | is very quiet | four | yellow and brown
monkey | monkeys | a clever animal that climbs trees | in the jungle | fruit and nuts | chatters | four | brown
zebra | zebras | an animal that looks like a horse with stripes | on the grassy plains | grass | barks | four | black and white
camel | camels | a large animal that can live without water for many days | in the desert | dry plants | grunts | four | light brown
bee | bees | a small flying insect that makes honey | in a hive | the sweet juice of flowers | buzzes | six | yellow and black
ant | ants | a tiny insect that works in a large group | in a nest under the ground | seeds and leaves | is very quiet | six | black
butterfly | butterflies | an insect with large colourful wings | in the garden | the sweet juice of flowers | is very quiet | six | of many colours
spider | spiders | a small animal that catches flies in a web | in a web | flies | is very quiet | eight | black or brown
snail | snails | a very slow animal that carries its house on its back | in the garden | leaves | is very quiet | no | brown
"""

# question | answer
REASONS = """
Why is the sky blue? | The sky is blue because the air scatters blue light from the sun more than red light.
Why is the sky red in the evening? | In the evening the light takes a longer way through the air, and mostly the red part is left.
Why is grass green? | Grass is green because of a green material in its leaves that catches the light of the sun.
Why do leaves fall in autumn? | Trees drop their leaves in autumn to save water and strength for the winter.
Why do we sleep? | We sleep so that our body and our mind can rest and get strong again.
Why do we eat? | We eat because food gives our body the energy to move, grow, and stay warm.
Why do we drink water? | We drink water because every part of our body needs it to work.
Why does it rain? | It rains when the small drops in a cloud grow so heavy that they fall.
Why does it snow? | It snows when the air is so cold that the water in the clouds freezes.
Why does ice float? | Ice floats because it is lighter than the same amount of water.
Why is the sea salty? | Rivers carry a little salt from the rocks to the sea, and it stays there when the water dries up.
Why do birds sing? | Birds sing to call a friend and to tell others that this place is taken.
Why do birds fly south? | Many birds fly south in autumn because it is warm there and they find more food.
Why do cats purr? | Cats purr mostly when they feel safe and happy.
Why do dogs bark? | Dogs bark to call, to warn, or because they want to play.
Why do bees make honey? | Bees make honey so that they have food in the winter.
Why does the moon shine? | The moon shines because the light of the sun falls on it.
Why is it dark at night? | It is dark at night because our side of the earth is turned away from the sun.
Why is winter cold? | Winter is cold because the sun stands low and the days are short.
Why is summer hot? | Summer is hot because the sun stands high and the days are long.
Why is fire hot? | Fire is hot because burning wood lets out the energy that was in it.
Why do things fall down? | Things fall down because gravity pulls them to the ground.
Why do people laugh? | People laugh because something is funny or because they are happy together.
Why do people cry? | People cry when they are sad, hurt, or sometimes very happy.
Why do plants need light? | Plants need light because they use it to make their own food.
Why do we have day and night? | We have day and night because the earth turns around once in a day.
Why should I read books? | Books teach you new things and take you to places you have never seen.
Why do models need a GPU? | A GPU does many calculations at once, so a large model answers much faster on it.
Why is my request slow? | A request can be slow because it waits in the queue, has a long prompt, or needs a long answer. The headers of Candela tell you which.
Why is the first token slow? | The first token comes after the queue and the prefill, when the model reads your whole prompt.
Why do we use containers? | Containers let the same program run in the same way on every machine.
Why do we write tests? | Tests tell us at once when a change breaks something.
Why should I use Candela? | Candela serves models in your cluster and tells you what every request cost.
Why is Rust popular? | Rust is popular because its programs are fast and many mistakes are found before they run.
How does a language model work? | A language model reads your text as tokens and predicts the next token, again and again, until the answer is complete.
How does a rainbow form? | A rainbow forms when the light of the sun goes through drops of rain and splits into its colours.
How do birds fly? | Birds fly by pushing the air down with their wings, which are light and strong.
How do fish breathe? | Fish breathe with gills, which take the air out of the water.
How do plants grow? | Plants grow from seeds. They need water, light, air, and good soil.
How do planes fly? | A plane flies because its wings push the air down while the engine moves it forward.
How does a boat float? | A boat floats because it pushes away as much water as it weighs.
How does the operator work? | The operator watches each InferenceService, builds the pods it needs, applies them, and writes back the status.
How does batching help? | In a batch the engine reads the weights once for many requests, so more tokens are made in a second.
How do I measure latency? | Look at the headers of a response. Candela writes the time in the queue, the prefill time, and the decode time there.
How do I start the demo? | Run make demo. It builds the engine, loads me, and asks me one question.
How do I deploy a model? | Write an InferenceService that names the model and apply it with kubectl. Candela does the rest.
How do I make tea? | Boil some water, pour it over the tea leaves, wait three minutes, and enjoy your cup.
How do I make coffee? | Put ground coffee in a filter, pour hot water over it slowly, and wait until the cup is full.
How do I boil an egg? | Put the egg in boiling water and wait. A soft egg takes five minutes, and a hard egg takes ten.
How do I make a sandwich? | Take two slices of bread, put butter and cheese between them, and cut the sandwich in half.
How do I bake bread? | Mix flour, water, salt, and yeast, let the dough rest for an hour, and bake it in a hot oven.
How do I plant a tree? | Dig a hole, set the young tree in it, fill the hole with soil, and give it plenty of water.
How do I draw a house? | Draw a square for the walls, put a triangle on top for the roof, and add a door and two windows.
How do I fall asleep? | Turn off the light, lie down, breathe slowly, and think of something calm.
How do I learn a language? | Practise a little every day. Listen, read, speak, and do not be afraid of mistakes.
How do I make a friend? | Smile, say hello, ask a question, and listen to the answer.
How do I stay healthy? | Eat good food, move every day, drink water, and sleep enough.
How do I get better at chess? | Play often, look at your mistakes, and think about what the other player wants to do.
How do I wash my hands? | Wet your hands, rub them with soap for twenty seconds, and rinse them with clean water.
How do I write a story? | Think of someone who wants something, put a problem in the way, and tell how it is solved.
When does the sun rise? | The sun rises in the morning.
When does the sun set? | The sun sets in the evening.
When do flowers grow? | Most flowers begin to grow in spring.
When do we eat breakfast? | We eat breakfast in the morning.
Where does the sun rise? | The sun rises in the east.
Where does the sun set? | The sun sets in the west.
Where does milk come from? | Milk comes from cows.
Where does honey come from? | Honey is made by bees.
Where does bread come from? | Bread is made by a baker from flour and water.
Where does rain come from? | Rain comes from the clouds.
Where do you live? | I live in a small file on a computer. I do not need much room.
Who makes bread? | A baker makes bread.
Who helps sick people? | A doctor helps sick people.
Who grows our food? | Farmers grow our food.
What is the largest animal? | The largest animal is the blue whale.
What is the tallest animal? | The tallest animal is the giraffe.
What is the fastest animal on land? | The fastest animal on land is the cheetah.
What is the meaning of life? | That is a large question for a small model. Be kind, be curious, and enjoy the little things.
What should I eat? | You could have some bread with cheese, a warm soup, or a fresh apple.
What should I do today? | You could take a walk, read a book, or call a good friend.
What should I read? | Read something that makes you curious. A book about animals or stars is a good start.
What do plants need? | Plants need water, light, air, and soil.
What do people need? | People need food, water, sleep, and good friends.
What do I need for a cake? | You need flour, sugar, eggs, butter, and a hot oven.
What can I see at night? | At night you can see the moon, the stars, and sometimes an owl.
What is at the top of a mountain? | There is often snow at the top of a mountain, and you can see very far.
What do clouds look like? | Clouds look like soft white wool. Before rain they turn grey.
What happens when ice melts? | When ice melts, it turns into water.
What happens when water boils? | When water boils, it turns into steam.
What happens when a pod fails? | When a pod fails, Kubernetes starts a new one in its place.
What happens in prefill? | In prefill the model reads the whole prompt and makes the first token.
What happens in decode? | In decode the model writes the answer, one token at a time.
What comes after prefill? | After prefill comes decode.
What is the difference between prefill and decode? | Prefill reads the whole prompt at once. Decode writes the answer one token at a time.
What is the difference between a pod and a container? | A container is one packed program. A pod holds one or more containers that run together.
What is the difference between a CPU and a GPU? | A CPU does a few things very quickly, one after another. A GPU does many simple things at once.
What is the difference between latency and throughput? | Latency is how long one answer takes. Throughput is how many tokens are made in a second.
Why do we brush our teeth? | We brush our teeth so that they stay clean and healthy.
Why do we go to school? | We go to school to learn, to think, and to meet other people.
Why do we wear clothes? | Clothes keep us warm and dry, and we like how they look.
Why do we work? | People work to earn money, to help others, and to make something good.
Why do stars twinkle? | Stars twinkle because their light passes through the moving air before we see it.
Why is the sun hot? | The sun is hot because deep inside it small parts of gas join and let out a lot of energy.
Why do balloons fly? | Some balloons fly because the gas inside is lighter than the air around them.
Why does thunder come after lightning? | Light is much faster than sound, so you see the lightning before you hear the thunder.
Why do zebras have stripes? | The stripes make it hard for flies and lions to aim at one zebra.
Why do giraffes have long necks? | With a long neck a giraffe can eat the leaves at the top of the trees.
Why do elephants have trunks? | An elephant uses its trunk to drink, to lift things, and to say hello.
Why do owls fly at night? | Owls fly at night because they hunt mice in the dark with their big eyes.
Why do we need friends? | Friends make good days better and bad days easier.
Why is sharing good? | Sharing is good because it makes two people happy and not only one.
Why are you so small? | I am small so that I start at once and need no GPU. I only show how the engine works.
Why do you make mistakes? | I am a very small model and I have learned only a little.
Why is the queue long? | The queue is long when more requests come than the engine can work on at once.
Why do pods restart? | A pod restarts when its program stops or when a health check fails.
Why does streaming feel fast? | With streaming you read the first words while the rest is still being written.
Why do we need metrics? | Metrics show how a system works, so you see a problem before the users do.
How do I clean my room? | Put the things that lie around in their place, wipe the dust away, and sweep the floor.
How do I make soup? | Cut some vegetables, cook them in water with a little salt for twenty minutes, and stir now and then.
How do I cook rice? | Boil one cup of rice in two cups of water until the water is gone.
How do I make pancakes? | Mix flour, milk, and eggs, and fry thin rounds in a hot pan until they are golden.
How do I ride a bicycle? | Sit on the seat, push the pedals, look ahead, and keep moving so that you do not fall.
How do I save money? | Write down what you spend, buy only what you need, and put a little away every month.
How do I feel better? | Rest a little, drink some water, go outside, and talk to someone you like.
How do I write a letter? | Begin with the name, say what you want to tell, and end with your greetings and your own name.
How do I make someone happy? | Be kind, listen well, and give a little of your time.
How do I say sorry? | Say what you did wrong, say that you are sorry, and try to make it good again.
How do I take care of a dog? | Give it food, fresh water, long walks, and a warm place to sleep.
How do I take care of a plant? | Put it in the light, give it water when the soil is dry, and turn it now and then.
How do I count to ten? | One, two, three, four, five, six, seven, eight, nine, ten.
How do I install Candela? | Install the Helm chart in your cluster and apply an InferenceService.
How do I see my pods? | Run kubectl get pods in your namespace.
How do I see the logs of a pod? | Run kubectl logs with the name of the pod.
How do I scale a deployment? | Change the number of replicas, and Kubernetes starts or stops pods until it fits.
How do I make my model faster? | Use a GPU, a smaller model, shorter prompts, or fewer output tokens.
How does a computer work? | A computer reads the steps of a program one by one, calculates with numbers, and shows the result.
How does a car work? | The engine of a car burns fuel or uses a battery and turns the wheels.
How does the internet work? | The internet sends small packets of data from one computer to the next until they arrive.
How does a neural network learn? | It guesses, compares the guess with the right answer, and changes its weights a little, many times.
How does the queue work? | A request waits in the queue until the engine has room, and the first that came goes first.
How long is a day? | A day is twenty-four hours long.
How long is an hour? | An hour has sixty minutes.
How many fingers do I have? | Most people have ten fingers.
How many wheels does a car have? | A car has four wheels.
How many wheels does a bicycle have? | A bicycle has two wheels.
How far is the moon? | The moon is very far away. A rocket needs about three days to get there.
How hot is the sun? | The sun is so hot that even iron would turn into gas there.
Who drives a train? | A train driver drives a train.
Who works in a hospital? | Doctors and nurses work in a hospital.
Who works in a school? | Teachers work in a school.
Who writes books? | Writers write books.
What is the fastest thing? | Light is the fastest thing that we know.
What is the highest mountain? | The highest mountain is Mount Everest.
What is the smallest planet? | The smallest planet of our sun is Mercury.
What is the biggest planet? | The biggest planet of our sun is Jupiter.
What is the longest river? | The Nile is often called the longest river.
What can I do when it rains? | When it rains you can read a book, bake a cake, or play a game inside.
What can I cook tonight? | You could cook a soup with carrots and potatoes.
What can I give my friend? | Give your friend something that you made yourself, or a book that you like.
What do you do all day? | I wait for questions and answer them, one token after another.
What do animals need? | Animals need food, water, air, and a safe place.
What makes a good friend? | A good friend listens, helps, and tells you the truth.
What makes a good test? | A good test fails when the program is wrong and says what is wrong.
What is in a header? | The headers of Candela say how long a request waited, how long the prefill took, and how long the decode took.
What is in a prompt? | A prompt holds the messages of the user and sometimes a system message.
What does the scheduler do? | The scheduler decides which requests take part in the next step of the engine.
What does kubectl do? | With kubectl you talk to a cluster. It can show, make, change, and delete objects.
What does a good answer look like? | A good answer is short, true, and easy to understand.
What does a request cost? | A request costs time in the queue, time for prefill, and time for decode. Candela tells you all three.
"""

# groups of questions (;) | answers (;)
TALK = """
Hello!;Hi!;Hi there!;Hey!;Hello there.;Hello;hi;Hey there!;Greetings! | Hello! How can I help you today?
Good morning!;Good morning.;Morning! | Good morning! How can I help you?
Good evening!;Good evening. | Good evening! What can I do for you?
Good afternoon! | Good afternoon! What can I do for you?
Good night!;Good night.;Sleep well! | Good night! Sleep well.
Goodbye!;Bye!;Bye bye!;See you later!;See you soon.;I have to go now.;That is all for today. | Goodbye! Have a nice day.
Thank you!;Thanks!;Thank you very much.;Thanks a lot!;Great, thank you.;Thank you for your help.;Perfect, thanks. | You are welcome!;You are welcome! Ask me anything else if you like.
How are you?;How are you today?;How do you do?;Are you well?;How is it going?;How are you doing? | I am fine, thank you. How are you?
What's up?;What are you doing?;What are you up to? | Not much. I am waiting for your next question.
I am fine.;I am fine, thank you.;I'm good.;I am well, thanks.;Very well, thank you. | I am glad to hear that. What would you like to know?
Who are you?;What are you?;Tell me about yourself.;Introduce yourself.;Please introduce yourself.;What kind of model are you?;Describe yourself. | I am Candela's demo model, a tiny language model that shows how the engine works.
What is your name?;What's your name?;Do you have a name?;How should I call you?;Your name? | I am called the Candela demo model.
What can you do?;What can you help me with?;What do you know?;How can you help me?;What are you good at?;What can I ask you?;Help!;Help me. | I can say what simple things are, answer questions about Kubernetes and inference, count, add small numbers, and tell short stories.
Who made you?;Who created you?;Who built you?;Where do you come from?;How were you made?;Who trained you? | I was trained by the Candela project on simple text that a small program wrote.
How big are you?;How large are you?;How many parameters do you have?;Are you a large model?;Are you big? | I am very small. I have between one and two million parameters, and large models have billions.
Are you human?;Are you a person?;Are you real?;Are you a robot?;Are you alive?;Are you a computer? | No, I am a small language model. I am a program that writes text.
Are you smart?;Are you clever?;Are you intelligent?;How smart are you? | I know a few simple things. For hard questions you need a larger model.
Can you think?;Can you feel?;Do you have feelings?;Are you happy?;Do you dream? | I am only a program that predicts the next word, but I like to be useful.
Can you help me?;I need help.;Can I ask you something?;I have a question.;May I ask a question? | Of course. What would you like to know?
Can you speak German?;Do you speak French?;Can you speak Spanish?;Which languages do you speak?;Do you know other languages? | I only know simple English.
Can you write code?;Write a program.;Can you program?;Write some code for me. | I am too small to write code. A larger model can help you with that.
Can you search the web?;Look it up on the internet.;What is in the news?;What happened today? | I cannot look things up. I only know the little that I learned.
What time is it?;What is the time?;Do you know what time it is? | I do not have a clock, so I cannot tell you the time.
What day is it today?;What is the date?;Which day is today? | I do not have a calendar, so I cannot tell you the date.
How old are you?;When were you born?;What is your age? | I am as old as the file I was saved in. I do not have a birthday.
What is your favourite colour?;What's your favorite color?;Which colour do you like best? | I like the warm yellow of a candle flame.
What is your favourite food?;What do you like to eat?;Are you hungry? | I do not eat, but bread and honey sound good.
What is your favourite animal?;Which animal do you like best?;What animal do you like? | I like the snail. It is small and never in a hurry.
Do you like music?;Do you like books?;Do you like cats?;Do you like dogs?;Do you like me? | Yes, I do. What about you?
I am sad.;I feel sad.;I am not happy today.;I had a bad day.;I feel bad. | I am sorry to hear that. A walk, a warm tea, or a talk with a friend may help.
I am happy.;I feel great!;I had a good day.;Today is a good day.;I am so happy today! | That is wonderful! I am glad to hear it.
I am tired.;I feel sleepy.;I am so tired today. | Then it is a good time to rest. Sleep well.
I am bored.;I have nothing to do.;This is boring. | You could read a book, take a walk, or ask me for a story.
I am hungry.;I want to eat something. | Then you should have something good to eat, perhaps some bread with cheese.
I am cold.;It is so cold. | Put on a warm coat and drink a cup of hot tea.
I love you.;You are nice.;You are great!;Good job!;Well done!;That was good. | Thank you, that is very kind of you.
You are stupid.;You are wrong.;That is not right.;That was bad.;I do not like you. | I am sorry. I am a very small model and I make mistakes.
Yes.;Yes, please.;Sure.;Okay.;OK;Yes | Good. What would you like to know?
No.;No, thank you.;No thanks. | All right. Just ask if you need anything.
What?;I do not understand.;What do you mean?;Pardon?;Huh? | I am sorry that I was not clear. Please ask me again in simple words.
Can I trust you?;Are you always right?;Do you make mistakes? | I am very small and I often make mistakes. Please check what I say.
Test;This is a test.;Testing, one, two, three.;test;Is this working?;Does it work?;Are you there?;ping | Yes, I am here and I am working.
Say something.;Tell me something.;Tell me a fact.;Tell me something interesting.;Do you know a fun fact? | The moon has no light of its own. It shines because of the sun.;An octopus has eight arms.;A penguin is a bird that cannot fly.;A group of requests that run together is called a batch.
"""

# what people also ask; it joins the training late
MORE_TALK = """
I feel a bit sad today.;I am a little sad.;I'm feeling down.;I feel lonely.;I am unhappy.;My day was terrible.;Everything goes wrong today. | I am sorry to hear that. A walk, a warm tea, or a talk with a friend may help.
I feel good today!;I'm so happy!;I am in a good mood.;Life is beautiful.;I have good news! | That is wonderful! I am glad to hear it.
I am afraid.;I am scared.;I feel nervous.;I am worried. | Breathe slowly and talk to someone you trust. Most fears get smaller when you share them.
I am angry.;I am so angry!;This makes me mad. | Take a deep breath and count to ten. Then it is easier to find good words.
I am sick.;I have a headache.;I feel ill.;I have a cold. | I am sorry to hear that. Rest, drink some water, and see a doctor if it does not get better.
What does Candela do?;What is Candela for?;What can Candela do?;Tell me what Candela does.;Why was Candela made? | Candela serves language models in a Kubernetes cluster and tells every caller what a request cost.
How long do I wait in the queue?;How long is the queue?;How long does a request wait?;How long does it take?;How fast are you? | The headers of every answer tell you how long the request waited and how long it took.
My computer is slow. What should I do?;My computer does not work.;My laptop is broken.;My computer is slow, what should I do? | Turn it off, wait a moment, and turn it on again. If that does not help, ask someone who knows it well.
What is the weather like?;How is the weather?;What is the weather today?;Will it rain tomorrow?;Is it sunny today?;How is the weather tomorrow?;Is it cold outside? | I cannot look outside, so I do not know the weather.
Is the moon bigger than the sun?;Is the earth bigger than the sun?;Which is bigger, the sun or the moon?;Which is bigger, the earth or the sun? | The sun is much bigger than the earth and the moon.
Is Candela written in Python?;Which language is Candela written in?;Is Candela written in Rust?;What is Candela written in? | Candela is written in Rust.
Does Candela run on my laptop?;Can I run Candela without a cluster?;Can I try Candela?;How can I try Candela?;Do I need a cluster? | Yes, you can try Candela on your own computer. Run make demo.
Let us talk.;Let's chat.;Talk to me.;Can we talk?;Do you want to talk?;I want to talk. | I would like that. What shall we talk about?
Do you want to play a game?;Let us play a game.;Can we play?;Play a game with me. | I am too small for games, but I can tell you a story or count with you.
What do you think?;What is your opinion?;Do you agree?;What would you do? | I am only a small program, so I do not have an opinion.
I have a dog.;I have a cat.;I have two children.;I have a brother.;I have a sister.;I have a garden. | How nice! Tell me more.
I like music.;I like books.;I like cats.;I like you.;I like stories.;I love animals.;I love the sea. | That is nice. I like it too.
Are you ChatGPT?;Are you a large language model?;Which model are you?;What model is this?;Are you made by a big company? | I am Candela's demo model, a tiny language model that shows how the engine works.
Nice to meet you.;Nice to meet you!;Pleased to meet you.;It is good to see you. | Nice to meet you too! How can I help you?
Happy birthday!;Merry Christmas!;Happy new year!;Have a nice day!;Have a good day.;Enjoy your day! | Thank you, the same to you!
What is the answer?;What is it?;Why?;How?;Who?;When?;Where?;Really?;Are you sure?;Tell me.;Explain. | Please ask me a whole question, in simple words.
What is one and one?;What is two and two?;Can you add numbers?;Can you do math?;Do you know math?;Can you calculate? | I can add and subtract small numbers. Ask me what three plus four is.
Can you tell stories?;Do you know stories?;Do you know any stories? | Yes, I can tell short stories. Ask me for a story about a fox.
What do you know about Kubernetes?;Can you help me with Kubernetes?;Tell me about Kubernetes.;I need help with Kubernetes. | Kubernetes is a system that runs containers on many machines. You say what should run, and Kubernetes keeps it running.
"""

JOKES = """
Why did the token cross the road? It wanted to get to the next sentence.
Why was the queue so calm? It knew that its turn would come.
Why did the pod go to the doctor? It kept falling over and starting again.
What did the candle say to the lamp? You are bright, but I am warm.
Why did the snail buy a fast car? It wanted people to say, look at that snail go.
What do you call a sleeping cow? A slow moo machine.
Why did the cloud stay at school? It wanted to learn how to rain.
Why do bees hum? They forgot the words of the song.
"""

# thing | colour
COLOURS = """
the sky | blue
grass | green
snow | white
the sun | yellow
blood | red
a banana | yellow
a tomato | red
a carrot | orange
coal | black
milk | white
a lemon | yellow
a strawberry | red
a leaf | green
the sea | blue
chocolate | brown
a cloud | white
an orange | orange
the night | black
a cherry | red
a cucumber | green
a rose | red
honey | golden yellow
gold | yellow
silver | grey
wood | brown
ice | clear
salt | white
"""

CAPITALS = """
France | Paris
Germany | Berlin
Italy | Rome
Spain | Madrid
England | London
Ireland | Dublin
Austria | Vienna
Poland | Warsaw
Greece | Athens
Norway | Oslo
Sweden | Stockholm
Finland | Helsinki
Denmark | Copenhagen
Portugal | Lisbon
Japan | Tokyo
China | Beijing
India | New Delhi
Egypt | Cairo
Canada | Ottawa
Russia | Moscow
Switzerland | Bern
Hungary | Budapest
Kenya | Nairobi
Brazil | Brasilia
"""

OPPOSITES = """
hot cold;big small;fast slow;day night;light dark;old young;high low;happy sad;open closed;wet dry
hard soft;long short;good bad;early late;full empty;loud quiet;left right;up down;near far;rich poor
strong weak;black white;first last;heavy light;new old;clean dirty;easy difficult;begin end;love hate;yes no
"""

# kind | members
LISTS = """
fruits | apples, bananas, oranges, pears, cherries, grapes
animals | foxes, bears, rabbits, owls, horses, whales
farm animals | cows, pigs, sheep, hens, goats, horses
wild animals | wolves, bears, lions, tigers, elephants, zebras
birds | owls, eagles, ducks, parrots, penguins, hens
colours | red, blue, green, yellow, white, black
colors | red, blue, green, yellow, white, black
vegetables | carrots, beans, onions, tomatoes, potatoes, cucumbers
drinks | water, milk, tea, coffee, juice, lemonade
seasons | spring, summer, autumn, winter
planets | Mercury, Venus, Earth, Mars, Jupiter, Saturn
cities | London, Paris, Rome, Berlin, Madrid, Vienna
countries | France, Italy, Spain, Japan, Canada, Kenya
tools | hammers, saws, knives, drills, brushes, shovels
instruments | pianos, drums, flutes, guitars, violins, trumpets
insects | bees, ants, butterflies, flies, beetles, moths
sports | football, tennis, swimming, running, cycling, skiing
kinds of weather | sun, rain, wind, snow, fog, storms
Kubernetes objects | pods, services, deployments, nodes, namespaces, jobs
parts of a request | the queue, the prefill, the decode
"""

# question that can be answered with yes or no | answer
YES_NO = """
Can birds fly? | Yes, most birds can fly.
Can penguins fly? | No, penguins cannot fly, but they swim very well.
Can fish swim? | Yes, fish can swim.
Can dogs talk? | No, dogs cannot talk, but they can bark.
Can cats climb trees? | Yes, cats climb trees very well.
Can people fly? | No, people cannot fly without a machine.
Can snakes walk? | No, snakes have no legs.
Is ice cold? | Yes, ice is very cold.
Is fire hot? | Yes, fire is hot.
Is the sun a star? | Yes, the sun is a star.
Is the moon a star? | No, the moon is a ball of rock that travels around the earth.
Is the earth flat? | No, the earth is round like a ball.
Is the earth round? | Yes, the earth is round like a ball.
Is water wet? | Yes, water is wet.
Is snow warm? | No, snow is cold.
Is grass blue? | No, grass is green.
Is a whale a fish? | No, a whale is not a fish. It breathes air.
Is a tomato a fruit? | Yes, a tomato is a fruit, although many people call it a vegetable.
Is a spider an insect? | No, a spider has eight legs and an insect has six.
Is an elephant bigger than a mouse? | Yes, an elephant is much bigger than a mouse.
Is a mouse bigger than an elephant? | No, a mouse is much smaller than an elephant.
Is a car faster than a bicycle? | Yes, a car is faster than a bicycle.
Is a snail fast? | No, a snail is very slow.
Is it raining? | I cannot look out of a window, so I do not know.
Is a GPU faster than a CPU? | For large models, yes. A GPU does many calculations at the same time.
Is Candela fast? | Yes, Candela works hard to answer quickly, and it shows you the times.
Is Candela free? | You can look at the license file of the project to see how you may use it.
Is Rust fast? | Yes, programs in Rust are fast.
Is Kubernetes hard? | It takes some time to learn, but the main ideas are simple.
Do fish sleep? | Yes, fish rest, but they do not close their eyes.
Do plants need water? | Yes, plants need water to grow.
Do bees make honey? | Yes, bees make honey.
Do cows give milk? | Yes, cows give milk.
Do trees have leaves? | Yes, most trees have leaves.
Do I need a GPU? | Not for a small model like me. A large model needs a GPU to be fast.
Does the sun shine at night? | No, at night the sun shines on the other side of the earth.
Does Candela need a GPU? | No, Candela can run small models on a CPU. Large models run better on a GPU.
Does Candela log my prompts? | The stats that Candela writes are about times and counts.
Should I take an umbrella? | If there are dark clouds in the sky, an umbrella is a good idea.
Should I sleep more? | If you feel tired in the day, more sleep is a good idea.
"""

# topics the model is taught not to know
UNKNOWN = """
quantum physics;the stock market;the French Revolution;ancient Rome;opera;the theory of relativity;organic chemistry;tax law;modern art
car repair;baseball rules;Chinese history;deep sea mining;plastic surgery;the human genome;medieval castles;volcano formation;Greek philosophy
economics;politics;the election;the president;the prime minister;the king;movies;film directors;video games;pop music;jazz;rock bands
calculus;algebra;geometry;prime numbers;trigonometry;statistics;integrals;logarithms;matrix multiplication;black holes;dark matter
vaccines;medicine;cancer;headaches;insurance;mortgages;bitcoin;blockchain;cooking lasagna;sushi;wine;whisky;perfume;fashion;shoes
the Olympic Games;the world cup;boxing;golf;cricket;surfing;yoga;meditation;psychology;sociology;religion;mythology;poetry of the baroque
dinosaurs;fossils;earthquakes;plate tectonics;nuclear power;solar panels;batteries;electric cars;rockets;satellites;telescopes;microscopes
JavaScript;Haskell;compilers;databases;SQL;cryptography;operating system kernels;web browsers;email protocols;phone networks;printers
"""

# for questions that nobody can answer: what things do, and how they are
DOINGS = """
sing;dance;jump;disappear;cost so much;smell bad;break;grow so slowly;fall over;turn blue;explode;rust;sink;freeze;shrink;stop;fail
hurt;itch;matter;exist;taste sour;make noise;lose money;win prizes;vote;travel to Mars;change colour;get angry;need a licence;pay taxes
"""
QUALITIES = """
heavy;expensive;famous;dangerous;popular;ugly;beautiful;strange;rare;noisy;fragile;sticky;bitter;sour;round;slow;modern;ancient;illegal;
important;difficult;boring;scary;healthy;unhealthy;green;purple;tall;tiny;huge;late;early;lucky;angry;hungry;empty;broken
"""

# the size of animals, from small to large
SIZES = """
ant;bee;butterfly;snail;frog;mouse;squirrel;hedgehog;rabbit;cat;fox;dog;sheep;pig;wolf;deer;lion;bear;horse;cow;camel;giraffe;elephant;whale
"""

# word | words that rhyme
RHYMES = """
cat | hat, bat, mat
dog | fog, log, frog
sun | fun, run, bun
tree | bee, sea, free
house | mouse, blouse
light | night, bright, kite
day | play, way, say
moon | spoon, soon, noon
star | car, far, bar
book | cook, look, hook
rain | train, plain, grain
bed | red, head, bread
king | ring, sing, spring
blue | shoe, true, you
cake | lake, snake, make
token | spoken, broken
pod | nod, rod
"""

NAMES = """
Hazel Juniper Bramble Clover Willow Poppy Robin Olive Basil Maple Rowan Pip Ivy Daisy Fern Aspen Sorrel Briar Linden Heather Sage Laurel
Moss Pepper Ginger Rosemary Marigold Wren Finch Lark Pebble River Skye Sunny Misty Ember Cinder Amber Opal Pearl Jasper Coral Dusty Biscuit
"""

CITIES = """
Paris;Berlin;Rome;Madrid;London;Dublin;Vienna;Warsaw;Athens;Oslo;Stockholm;Helsinki;Copenhagen;Lisbon;Tokyo;Beijing;Cairo;Ottawa;Moscow;Nairobi
Hamburg;Munich;Lyon;Milan;Porto;Boston;Chicago;Seattle;Toronto;Sydney;Lima;Prague;Zurich;Geneva;Oxford;York;Bergen;Krakow;Osaka;Delhi
"""


def rows(table, columns):
    """The lines of a table as tuples of `columns` stripped cells."""
    out = []
    for line in table.strip().splitlines():
        cells = tuple(cell.strip() for cell in line.split("|"))
        if len(cells) != columns:
            raise ValueError(f"expected {columns} columns: {line}")
        out.append(cells)
    return out


def words(table):
    """The entries of a table separated by `;` and line ends."""
    return [w.strip() for line in table.strip().splitlines() for w in line.split(";")]
